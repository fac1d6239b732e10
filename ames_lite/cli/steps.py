"""Commands that a command runs: composed, printed as a user would give them, and done. With
prepare=true what is missing is made by the commands that the message names.
"""

import re
import shlex
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any

from ames_lite.cli.compose import compose
from ames_lite.errors import MissingFile
from ames_lite.io.overrides import shell_word, word

Explain = Callable[[str], str]  # makes a message one with commands
More = Mapping[str, Sequence[str]]  # further words for a command
REMEDY = re.compile(r"^  remedy: +python (?:extract|scripts)/(\w+)\.py ([^<\n]*)$", re.MULTILINE)


@dataclass
class Steps:
    """Runs commands of the project and prints them, with the time they took; root: data_root."""

    root: Path
    began: float = field(default_factory=time.perf_counter)

    def __call__(self, name: str, *overrides: str, **more: Any) -> Any:
        print(f"\n[{time.perf_counter() - self.began:4.0f} s] {self.text(name, *overrides)}")
        run = import_module(f"ames_lite.cli.{name}").run
        return run(self.config(name, *overrides), **more)

    def text(self, name: str, *overrides: str) -> str:
        """The command as a shell takes it."""
        return " ".join(["ames", name, *map(shell_word, self._given(overrides))])

    def config(self, name: str, *overrides: str) -> Any:
        return compose(name, self._given(overrides))

    def _given(self, overrides: tuple[str, ...]) -> list[str]:
        return [*overrides, word("data_root", self.root)]


def words(config: object, *names: str) -> list[str]:
    """Overrides of those of the fields that have a value."""
    found = {name.removesuffix("_"): getattr(config, name) for name in names}
    return [word(key, value) for key, value in found.items() if value is not None]


def make_missing(work: Callable[[], Any], explain: Explain, more: More | None = None) -> Any:
    """The result of the work, once what it misses was made; MissingFile where nothing makes it."""
    done: set[str] = set()
    while True:
        try:
            return work()
        except MissingFile as error:
            _mend(error, explain, more or {}, done)


def _mend(error: MissingFile, explain: Explain, more: More, done: set[str]) -> None:
    """Run the remedy, or where it misses something itself, the remedy of that alone: what was asked
    for is then tried first, since one pass may make several files.
    """
    found = {one[0]: one for one in REMEDY.finditer(explain(str(error)))}
    remedy = next((one for text, one in found.items() if text not in done), None)
    if remedy is None:
        raise error
    name = remedy[1]
    words = [*shlex.split(remedy[2]), *more.get(name, ())]
    print(f"\nprepare: ames {name} {' '.join(map(shell_word, words))}")
    try:
        import_module(f"ames_lite.cli.{name}").run(compose(name, words))
    except MissingFile as lacking:
        _mend(lacking, explain, more, done)
    else:
        done.add(remedy[0])
