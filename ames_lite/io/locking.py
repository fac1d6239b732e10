"""A lock on a folder, released by the system when its process ends, however it ends.

Where the system has no such locks (Windows), nothing is locked.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

try:
    import fcntl
except ImportError:
    fcntl = None  # type: ignore[assignment]

from ames_lite.errors import BadInput
from ames_lite.io.writing import explain_write_errors

LOCK = ".lock"


@contextmanager
def locked(folder: Path, what: str, remedy: str) -> Iterator[None]:
    """Hold the lock of a folder, which is made where it is missing.

    Raises BadInput (what, remedy) where another process holds it, and where it cannot be written.
    """
    with explain_write_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
        file = (folder / LOCK).open("w")
    with file:
        if fcntl is not None:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise BadInput(what, where=folder, remedy=remedy) from error
        yield


def is_locked(folder: Path) -> bool:
    """Whether another process holds the lock of a folder."""
    try:
        with locked(folder, "", ""):
            return False
    except BadInput:
        return True
