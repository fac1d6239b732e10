"""What is needed to time a disk: files that are not in memory, and a count of what it gave.

Input: a path. What a disk or a hypervisor keeps for itself cannot be dropped.
"""

from __future__ import annotations

import os
from pathlib import Path

from ames_lite.errors import BadInput

COUNTED = Path("/proc/self/io")  # of Linux


def check_droppable(expected: str) -> None:
    """Raise BadInput where the system cannot drop a file from memory."""
    if not hasattr(os, "posix_fadvise"):
        raise BadInput("this system cannot drop a file from memory", expected=expected)


def drop(path: Path) -> None:
    """Have the system forget what it keeps of a file, once it is on the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
        os.posix_fadvise(handle, 0, 0, os.POSIX_FADV_DONTNEED)
    finally:
        os.close(handle)


def bytes_from_disk() -> int | None:
    """That this process had the system read so far; None where it does not tell."""
    if not COUNTED.is_file():
        return None
    lines = dict(line.split(": ") for line in COUNTED.read_text().splitlines())
    return int(lines["read_bytes"])
