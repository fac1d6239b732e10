"""prepare=true: what is missing is made by the commands that the message names, then it goes on."""

import re
import shlex
from collections.abc import Callable
from functools import partial
from importlib import import_module
from typing import Any

from ames_lite.cli.compose import compose
from ames_lite.errors import MissingFile

REMEDY = re.compile(r"^  remedy: +python (?:extract|scripts)/(\w+)\.py ([^<\n]*)$", re.MULTILINE)


def make_missing(work: Callable[[], Any], explain: Callable[[str], str]) -> Any:
    """The result of the work, once the remedies of its missing files were run, and of theirs.

    explain: makes a message one with commands. Raises the MissingFile that no command mends.
    """
    done: set[str] = set()
    while True:
        try:
            return work()
        except MissingFile as error:
            found = {one[0]: one for one in REMEDY.finditer(explain(str(error)))}
            remedy = next((one for text, one in found.items() if text not in done), None)
            if remedy is None:
                raise
        done.add(remedy[0])
        name, words = remedy[1], remedy[2]
        print(f"\nprepare: ames {name} {words}")
        run = import_module(f"ames_lite.cli.{name}").run
        make_missing(partial(run, compose(name, shlex.split(words))), explain)
