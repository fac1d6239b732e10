"""prepare=true: what is missing is made by the commands that the message names, then it goes on."""

import re
import shlex
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from importlib import import_module
from typing import Any

from ames_lite.cli.compose import compose
from ames_lite.errors import MissingFile
from ames_lite.io.overrides import shell_word

REMEDY = re.compile(r"^  remedy: +python (?:extract|scripts)/(\w+)\.py ([^<\n]*)$", re.MULTILINE)


def make_missing(
    work: Callable[[], Any],
    explain: Callable[[str], str],
    more: Mapping[str, Sequence[str]] | None = None,
) -> Any:
    """The result of the work, once the remedies of its missing files were run, and of theirs.

    explain: makes a message one with commands; more: further words for a command. Raises the
    MissingFile that no command mends.
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
        name = remedy[1]
        words = [*shlex.split(remedy[2]), *(more or {}).get(name, ())]
        print(f"\nprepare: ames {name} {' '.join(map(shell_word, words))}")
        run = import_module(f"ames_lite.cli.{name}").run
        make_missing(partial(run, compose(name, words)), explain, more)
