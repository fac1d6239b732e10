"""What readers of candidate lists yield, and what writers take."""

import io
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from ames_lite.errors import BadInput, explained

Floats = npt.NDArray[np.float32]
ODD_NAMES = "surrogatepass"  # a path that is not UTF-8 on disk reaches Python as surrogates


class Entry(NamedTuple):
    """A candidate of a query, or a query alone (name None), whose list may be empty."""

    query: str
    name: str | None = None
    score: float | None = None
    line: int = 0  # from 1; 0: the form has no lines


class Ranked(NamedTuple):
    """A list to write. numbers: of the first images, by column; the last one ranks them all."""

    query: str
    names: list[str]
    numbers: dict[str, Floats]

    def texts(self) -> Iterator[tuple[str, str]]:
        """Each name, and its score in the fewest digits that give the float32 back."""
        return zip(self.names, map(short, [*self.numbers.values()][-1]), strict=True)


def short(value: np.float32) -> str:
    """The fewest digits that give this float32 back."""
    return np.format_float_positional(value, unique=True, trim="0")


class Lines:
    """The lines of a text, which know where they are; for ir_measures a file is what has `read`."""

    def __init__(self, path: Path) -> None:
        with explained("not a text in UTF-8 ({})", UnicodeDecodeError, where=path):
            text = path.read_bytes().decode("utf-8-sig", ODD_NAMES)
        self.path, self.number, self._text = path, 0, io.StringIO(text, newline="\n")
        self.read = self._text.read

    def __iter__(self) -> Iterator[str]:
        for self.number, line in enumerate(self._text, 1):  # noqa: B020
            yield line

    @property
    def here(self) -> str:
        return f"{self.path}, line {self.number}"

    def number_of(self, text: str) -> float:
        """Raises BadInput for no number."""
        with explained("{}", ValueError, where=self.here, expected="a number"):
            return float(text)

    def refuse(self, what: str, expected: str) -> BadInput:
        return BadInput(what, where=self.here, expected=expected)
