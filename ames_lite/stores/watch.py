"""Files that are being read for a long time: whether they are still what they were.

HDF5 gives zeros, without an error, for what lies beyond the end of a file that became shorter after
it was opened, and for a chunk file that has gone; so files are looked at after they were read.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from ames_lite.errors import BadInput, MissingFile
from ames_lite.stores.descriptor_store import DescriptorStore


class Watch:
    """The files of stores, as they are now."""

    def __init__(self, stores: Iterable[DescriptorStore]) -> None:
        self.remedy: dict[Path, str] = {}
        for store in stores:
            for path in (store.path, *(chunk.path for chunk in store.chunks())):
                self.remedy[path] = store.remedy
        self.size = {path: path.stat().st_size for path in self.remedy}

    def check(self) -> None:
        """Raises MissingFile, or BadInput where a file has another size than at first."""
        for path, before in self.size.items():
            try:
                now = path.stat().st_size
            except FileNotFoundError as error:
                what = "the store has gone while it was read"
                raise MissingFile(what, **self._said(path)) from error
            if now != before:
                what = f"the store had {before} bytes when it was opened and has {now}"
                raise BadInput(what, **self._said(path))

    def _said(self, path: Path) -> dict[str, str]:
        again = f"bring it back, or make it again: {self.remedy[path]}"
        return {
            "where": str(path),
            "expected": "the file as it was when it was opened",
            "remedy": again,
        }
