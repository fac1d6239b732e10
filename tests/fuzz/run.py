"""Damaged files of every kind: what their readers make of them.

    python -m tests.fuzz.run <folder> <versions> [kind …]

prints, as JSON, how often the file of each kind was read as the whole one is ("same") or otherwise
("silent"), refused by a user's error, or brought another exception. They are read in forked
processes: damage can bring HDF5 down.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import resource
import signal
import sys
import traceback
import warnings
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np

from ames_lite.errors import UserError
from tests.fuzz.kinds import Kind, kinds

MEMORY = 8 << 30  # a length that was flipped must not take the machine's
CRASHED = "HDF5 hung or crashed"
SECONDS = 10  # for one version of one file
FINE = {"same", "refused"}  # of a file of ours
FOREIGN = FINE | {"silent"}  # nothing tells that it was changed


def versions(whole: bytes, count: int, seed: int) -> Iterator[tuple[str, bytes]]:
    """Damaged copies: a bit, a byte, a block of zeros, a tail that is absent or random."""
    rng = np.random.default_rng(seed)
    for number in range(count):
        at = int(rng.integers(len(whole)))
        damaged = bytearray(whole)
        how = ("bit", "byte", "byte", "zeros", "cut", "ones")[number % 6]
        if how == "bit":
            damaged[at] ^= 1 << int(rng.integers(8))
        elif how == "byte":
            damaged[at] ^= int(rng.integers(1, 256))
        elif how in ("zeros", "ones"):
            end = min(len(whole), at + int(rng.integers(1, 65)))
            damaged[at:end] = (b"\0" if how == "zeros" else b"\xff") * (end - at)
        else:
            del damaged[at:]
        yield f"{how} at {at}", bytes(damaged)


def outcomes(kind: Kind, folder: Path, count: int, seed: int = 0) -> Counter[str]:
    """How often the reader gave which outcome."""
    folder.mkdir(parents=True)
    path = folder / kind.name
    kind.write(path)
    whole = fingerprint(kind.read(path))
    left = list(versions(path.read_bytes(), count, seed))
    found: list[str] = []
    while left:
        came, signal_number = _in_a_fork(kind, path, left, whole)
        if signal_number:
            came.append(f"{CRASHED}: signal {signal_number} ({left[len(came)][0]})")
        left = left[len(came) :]
        found += came
    return Counter(found)


def _in_a_fork(
    kind: Kind, path: Path, left: list[tuple[str, bytes]], whole: str
) -> tuple[list[str], int]:
    """Outcomes of as many versions as a process survives, and the signal that ended it (or 0)."""
    log = path.with_name("outcomes")
    log.write_text("[]")
    child = os.fork()
    if not child:
        came: list[str] = []
        for said, damaged in left:
            path.write_bytes(damaged)
            signal.alarm(SECONDS)
            came.append(outcome(kind, path, said, whole))
            log.write_text(json.dumps(came))
        sys.exit()  # as a command ends: HDF5 closes what is open
    _, status = os.waitpid(child, 0)
    came = json.loads(log.read_text())
    died = os.WTERMSIG(status) if os.WIFSIGNALED(status) and len(came) < len(left) else 0
    return came, died


def outcome(kind: Kind, path: Path, said: str, whole: str) -> str:
    """What became of reading a damaged file; whole: the fingerprint of the one before."""
    try:
        found = fingerprint(kind.read(path))
    except UserError as error:
        named = str(path.parent) in str(error)
        return "refused" if named else f"refused without a path ({said}): {error!s:.300}"
    except Exception as error:  # noqa: BLE001 - to be counted
        return f"{type(error).__name__} ({said}): {''.join(traceback.format_exception(error)[-2:])}"
    return "same" if found == whole else "silent"


def fingerprint(value: object) -> str:
    """Equal for what is read alike, to the bit."""
    return hashlib.sha256("\n".join(_parts(value)).encode("utf-8", "replace")).hexdigest()


def _parts(value: object) -> Iterator[str]:
    if isinstance(value, np.ndarray):
        yield f"{value.dtype} {value.shape} {value.tobytes().hex()}"
    elif isinstance(value, Mapping):
        yield from _parts(sorted(value.items(), key=lambda item: str(item[0])))
    elif isinstance(value, list | tuple):
        yield f"{len(value)}"
        for part in value:
            yield from _parts(part)
    elif dataclasses.is_dataclass(value):
        yield from _parts(vars(value))
    else:
        yield repr(value)


def main() -> None:
    """See the head of the file."""
    folder, count, wanted = Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3:]
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    warnings.simplefilter("ignore")
    for kind in kinds():
        if not wanted or kind.name in wanted:
            found = outcomes(kind, folder / kind.name.replace(".", "_"), count)
            sys.stdout.write(json.dumps([kind.name, found]) + "\n")
            sys.stdout.flush()


if __name__ == "__main__":
    main()
