"""Errors that a user can mend: they carry what is wrong, where, what was expected, the remedy.

The command line prints them as one message and exits with 1; everything else is a bug and keeps
its traceback. They also derive from the built-in that Python users expect (`ValueError`, ...).
"""

import errno
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TypedDict, TypeVar, Unpack

Entry = TypeVar("Entry")


class Told(TypedDict, total=False):
    """What an error says beside its sentence, in this order."""

    where: str | Path | None  # a path or config key
    expected: str | None  # what would have been right
    remedy: str | None  # a command or page that provides it


class UserError(Exception):
    """What went wrong (one sentence) and how to mend it."""

    def __init__(self, what: str, **told: Unpack[Told]) -> None:
        said = ((key, told.get(key)) for key in Told.__annotations__)
        lines = [f"  {key + ':':<9} {value}" for key, value in said if value is not None]
        super().__init__("\n".join([what, *lines]))


class BadInput(UserError, ValueError):
    """An argument, array or file content that breaks its contract."""


class MissingFile(UserError, FileNotFoundError):
    """A file that is needed is not there."""

    def __str__(self) -> str:  # FileNotFoundError would print its (empty) errno fields
        return str(self.args[0])


class ConfigError(UserError, ValueError):
    """An unknown key, name or type in a configuration."""


Kind = type[UserError]


def require(
    fine: object, what: str, expected: str = "", /, kind: Kind = BadInput, **told: Unpack[Told]
) -> None:
    """Raise an error of that kind unless `fine`."""
    if expected:
        told["expected"] = expected
    if not fine:
        raise kind(what, **told)


def check_config(fine: object, what: str, expected: str, /, **told: Unpack[Told]) -> None:
    """Raise ConfigError unless `fine`."""
    require(fine, what, expected, kind=ConfigError, **told)


@contextmanager
def explained(
    what: str = "{}",
    kinds: type[Exception] | tuple[type[Exception], ...] = BadInput,
    **told: Unpack[Told],
) -> Iterator[None]:
    """Within: errors of these kinds become a BadInput. what: the message, {} for that of the error.
    Of a damaged file a library may raise nearly anything: its kind is Exception.
    """
    try:
        yield
    except kinds as error:
        said = what.replace("{}", str(error) or type(error).__name__)
        raise BadInput(said, **told) from error


def existing_file(path: str | Path, what: str, **told: Unpack[Told]) -> Path:
    """The path of a file that is there. Raises MissingFile."""
    told["where"] = path = Path(path)
    require(path.is_file(), what, kind=MissingFile, **told)
    return path


def chosen(name: str, known: Mapping[str, Entry], what: str, kind: Kind = ConfigError) -> Entry:
    """The entry of that name. Raises an error, with what exists, for an unknown one."""
    missing, expected = f"there is no {what} '{name}'", f"one of {', '.join(known)}"
    require(name in known, missing, expected=expected, kind=kind)
    return known[name]


_WRITABLE = "choose another place, or make this one writable"
DISK = {  # what the system refuses in writing, and what to do about it
    **dict.fromkeys((errno.ENOSPC, errno.EDQUOT), "free space"),
    errno.EIO: "the disk fails: see the system's log, or choose another place",
    errno.EFBIG: "raise the limit on the size of files (ulimit -f), or choose another place",
    **dict.fromkeys((errno.EACCES, errno.EPERM, errno.EROFS), _WRITABLE),
    **dict.fromkeys((errno.ENOTDIR, errno.EISDIR, errno.ENAMETOOLONG), _WRITABLE),
}


def disk_errno(error: BaseException | None) -> int | None:
    """Which of DISK an error is of, or came from at first; HDF5 says it only in its message."""
    found = None
    while error is not None:
        said = re.search(r"errno = (\d+)", str(error))
        number = error.errno if isinstance(error, OSError) else None
        number = int(said[1]) if number is None and said else number
        found = number if number in DISK else found
        error = error.__cause__ or error.__context__
    return found


def disk_error(error: OSError, where: object, then: str = "try again") -> BadInput:
    """What a refusal of the system is for the user. then: what to do once it is mended."""
    number = disk_errno(error)
    said = os.strerror(number) if number else str(error)
    if error.filename not in (None, str(where)) and ".partial" not in str(error.filename):
        said += f" ({error.filename})"
    remedy = f"{DISK[number] if number else 'choose another place'}, then {then}"
    return BadInput(f"writing failed: {said}", where=str(where), remedy=remedy)


def check_fields(record: object, fits: Mapping[str, tuple[bool, str]]) -> None:
    """Raise BadInput for the first field that does not fit; fits: whether it does, what would."""
    for name, (fit, expected) in fits.items():
        if not fit:
            raise BadInput(f"{name} is {getattr(record, name)!r}", expected=expected)


def at_least(least: int, **counts: int | None) -> dict[str, tuple[bool, str]]:
    """For `check_fields`: counts that may be None."""
    return {k: (v is None or v >= least, f"at least {least}") for k, v in counts.items()}
