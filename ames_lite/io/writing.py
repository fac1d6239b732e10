"""Files that appear whole: written beside the target, then renamed. And a lock on a folder."""

import csv
import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any, TextIO

try:
    import fcntl
except ImportError:
    fcntl = None  # type: ignore[assignment]

from ames_lite.errors import BadInput, UserError, disk_error, explained, require

LOCK = ".lock"


@contextmanager
def replacing(path: str | Path, overwrite: bool = False) -> Iterator[Path]:
    """A temporary path beside `path`, renamed to it when the block ends, removed when it fails.
    BadInput where `path` exists and overwrite is not given, before the block runs.
    """
    path = Path(path)
    refuse_existing(path, overwrite)
    with explain_write_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        _remove_left(path.parent.absolute())
    partial = path.with_name(f".{path.name}.{_system()}.{os.getpid()}.partial")
    try:
        with explain_write_errors(path):
            yield partial
            os.replace(partial, path)
    except BaseException:
        with suppress(OSError):
            partial.unlink()
        raise


@cache
def _system() -> str:
    """Where process numbers mean the same: a started system, its name space; `-` if unknown."""
    with suppress(OSError):
        started = Path("/proc/sys/kernel/random/boot_id").read_text()
        place = f"{os.uname().nodename} {started} {os.readlink('/proc/self/ns/pid')}"
        return hashlib.sha256(place.encode()).hexdigest()[:8]
    return "-"


@cache  # a folder is listed once, not for every file
def _remove_left(folder: Path) -> None:
    """Remove what killed processes were writing, of this system only: others may be alive."""
    for path in folder.glob(f".*.{_system()}.*.partial") if _system() != "-" else ():
        with suppress(OSError, ValueError, OverflowError):
            try:
                os.kill(int(path.name.split(".")[-2]), 0)
            except ProcessLookupError:
                path.unlink()


def csv_writer(file: TextIO) -> Any:
    """What writes rows as CSV that end in a line feed; a carriage return in a name, which readers
    take for an end, is quoted too, as it is not by Python's own.
    """
    lines = SimpleNamespace(write=lambda row: file.write(row.removesuffix("\r\n") + "\n"))
    return csv.writer(lines, lineterminator="\r\n")


def refuse_existing(path: Path, overwrite: bool) -> None:
    free, what = not path.is_dir() and (overwrite or not path.exists()), "the output exists already"
    remedy = "choose another path, or give overwrite=True to replace the file"
    require(free, what, where=path, expected="a path that is free", remedy=remedy)


@contextmanager
def explain_write_errors(path: Path, then: str = "try again") -> Iterator[None]:
    """Turn the operating system's refusal (disk full, no permission) into a BadInput."""
    try:
        yield
    except UserError:  # one that explains itself, also a MissingFile, which is an OSError
        raise
    except OSError as error:
        raise disk_error(error, path, then) from error


@contextmanager
def locked(folder: Path, what: str, remedy: str) -> Iterator[None]:
    """Hold the lock of a folder, made where it is missing; BadInput where another holds it. The
    system releases it when the process ends, however it ends; Windows has no such locks.
    """
    with explain_write_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
        file = (folder / LOCK).open("w")
    with file:
        with explained(what, BlockingIOError, where=folder, remedy=remedy):
            if fcntl is not None:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        with explain_write_errors(folder):
            yield


def is_locked(folder: Path) -> bool:
    try:
        with locked(folder, "", ""):
            return False
    except BadInput:
        return True
