"""How many bytes a file will have, said before the work, and whether the disk has room for them."""

from __future__ import annotations

import shutil
from pathlib import Path

from ames_lite.errors import BadInput
from ames_lite.stores.row_layout import Layout, num_bytes

REMEDY = (
    "free space, write elsewhere, store fewer descriptors per image, or packed bits (binarization=)"
)


def announce(path: str | Path, wanted: Layout, *, overwrite: bool = False) -> str:
    """What a file of these data sets will take, for printing before any work.

    Up to some KiB of HDF5's own. A file that exists already, and is to be continued, has its place:
    it takes nothing more; one that is overwritten stays until the new one is whole. Raises BadInput
    where the disk is too small.
    """
    path = Path(path)
    needed, images = num_bytes(wanted), wanted["status"][0][0]
    if path.exists() and not overwrite:
        return f"{path.name}: {_size(needed)}, which are on the disk already"
    free = require_room(path, wanted)
    per_image = _size(needed // max(1, images))
    said = f"{path.name}: {images} images of {per_image}, {_size(needed)} in all"
    return f"{said}; they fit, {_size(free)} are free"


def require_room(path: Path, wanted: Layout, remedy: str = REMEDY) -> int:
    """The free bytes. Raises BadInput where the disk is too small for these data sets."""
    needed, free = num_bytes(wanted), free_bytes(path)
    if needed > free:
        raise BadInput(
            f"the file takes {_size(needed)}, {_size(free)} are free",
            where=path.absolute(),
            expected="a disk that holds the whole file",
            remedy=remedy,
        )
    return free


def free_bytes(path: Path) -> int:
    """Free bytes where `path` will be; its folder need not exist yet."""
    folder = path.absolute().parent
    while not folder.exists():
        folder = folder.parent
    return shutil.disk_usage(folder).free


def _size(count: int) -> str:
    """
    >>> _size(1536), _size(3 << 30)
    ('1.5 KiB', '3.0 GiB')
    """
    size = float(count)
    for unit in ("bytes", "KiB", "MiB", "GiB"):
        if size < 1024:
            return f"{count} bytes" if unit == "bytes" else f"{size:.1f} {unit}"
        size /= 1024
    return f"{size:.1f} TiB"
