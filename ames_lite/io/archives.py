"""Sizes of zip archives, looked at before they are unpacked."""

import os
import zipfile

BOMB = 64 << 20, 100  # bytes, and the archive's size so often, that its members may take


def refuse_bomb(archive: zipfile.ZipFile, most: int = 0) -> None:
    """Raise ValueError where the members of an archive take far more than it does."""
    size = sum(member.file_size for member in archive.infolist())
    if size > max(most, BOMB[0], BOMB[1] * os.path.getsize(str(archive.filename))):
        raise ValueError(f"its members take {size} bytes, {BOMB[1]} times the file and more")
