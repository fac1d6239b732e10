"""Commands that a command runs: composed, printed as a user would give them, and done."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any

from ames_lite.cli.compose import compose
from ames_lite.io.overrides import shell_word, word


@dataclass
class Steps:
    """Runs commands of the project and prints them, with the time they took; root: data_root."""

    root: Path
    began: float = field(default_factory=time.perf_counter)

    def __call__(
        self, name: str, *overrides: str, work: Callable[..., Any] | None = None, **more: Any
    ) -> Any:
        """work: another function of the command's module than its `run`."""
        print(f"\n[{time.perf_counter() - self.began:4.0f} s] {self.text(name, *overrides)}")
        run = work or import_module(f"ames_lite.cli.{name}").run
        return run(self.config(name, *overrides), **more)

    def text(self, name: str, *overrides: str) -> str:
        """The command as a shell takes it."""
        return " ".join(["ames", name, *map(shell_word, self._given(overrides))])

    def config(self, name: str, *overrides: str) -> Any:
        """Its configuration. Raises ConfigError."""
        return compose(name, self._given(overrides))

    def _given(self, overrides: tuple[str, ...]) -> list[str]:
        return [*overrides, word("data_root", self.root)]


def words(config: object, *names: str) -> list[str]:
    """Overrides of those of the fields that have a value."""
    found = {name.removesuffix("_"): getattr(config, name) for name in names}
    return [word(key, value) for key, value in found.items() if value is not None]
