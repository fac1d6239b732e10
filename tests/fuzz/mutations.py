"""Damaged copies of a file: what of its bytes, of its lines or of its structure is changed.

A version follows from the seed, the kind's name and its number alone, so that one can be made
again. Every other version is a change of bytes; the rest know what the suffix says of the file.
forged: the file was made anew with checksums that fit, which nothing in it can tell.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import numpy as np

from tests.fuzz.hdf5_mutations import HDF5
from tests.fuzz.structured import JSON, PICKLE, PNG, SAFETENSORS, TEXT, ZIP, Changed

MAGIC = tuple(n & (2**64 - 1) for n in (0, -1, 2**31 - 1, 2**32, 2**63 - 1))
BLOCK = 64  # bytes, at most
Bytes = Callable[[bytes, np.random.Generator], bytes]


class Version(NamedTuple):
    said: str
    content: bytes
    forged: bool = False


def _place(whole: bytes, rng: np.random.Generator) -> int:
    return int(rng.integers(max(1, len(whole))))


def _span(whole: bytes, rng: np.random.Generator) -> tuple[int, int]:
    at = _place(whole, rng)
    return at, min(len(whole), at + int(rng.integers(1, BLOCK + 1)))


def flip(whole: bytes, rng: np.random.Generator, most: int = 1) -> bytes:
    """A bit; most: up to so many bits of one byte."""
    damaged, at = bytearray(whole), _place(whole, rng)
    damaged[at] ^= 1 << int(rng.integers(8)) if most == 1 else int(rng.integers(1, 256))
    return bytes(damaged)


def change_byte(whole: bytes, rng: np.random.Generator) -> bytes:
    return flip(whole, rng, most=8)


def fill(whole: bytes, rng: np.random.Generator) -> bytes:
    """A block of zeros or ones."""
    start, end = _span(whole, rng)
    return whole[:start] + (b"\0", b"\xff")[int(rng.integers(2))] * (end - start) + whole[end:]


def cut(whole: bytes, rng: np.random.Generator) -> bytes:
    return whole[: _place(whole, rng)]


def insert(whole: bytes, rng: np.random.Generator) -> bytes:
    at = _place(whole, rng)
    return whole[:at] + rng.bytes(int(rng.integers(1, BLOCK + 1))) + whole[at:]


def remove(whole: bytes, rng: np.random.Generator) -> bytes:
    start, end = _span(whole, rng)
    return whole[:start] + whole[end:]


def duplicate(whole: bytes, rng: np.random.Generator) -> bytes:
    start, end = _span(whole, rng)
    return whole[:end] + whole[start:]


def swap(whole: bytes, rng: np.random.Generator) -> bytes:
    """Two blocks of one length."""
    (one, end), other = _span(whole, rng), _place(whole, rng)
    size = min(end - one, abs(other - one), len(whole) - max(one, other))
    damaged = bytearray(whole)
    damaged[one : one + size] = whole[other : other + size]
    damaged[other : other + size] = whole[one : one + size]
    return bytes(damaged)


def magic(whole: bytes, rng: np.random.Generator) -> bytes:
    """A number that programs are off by, in 2, 4 or 8 bytes, of either byte order."""
    width = int(rng.choice([2, 4, 8]))
    at = _place(whole, rng)
    at -= at % 2 if rng.integers(4) else 0
    order = ("little", "big")[int(rng.integers(4) == 0)]
    number = MAGIC[int(rng.integers(len(MAGIC)))] % 2 ** (8 * width)
    field = number.to_bytes(width, order)  # type: ignore[arg-type]
    return (whole[:at] + field + whole[at + width :])[: max(len(whole), 1)]


BYTES: tuple[Bytes, ...] = (
    *(flip, change_byte, magic, cut, fill, magic, change_byte, insert, swap, magic, duplicate),
    remove,
)
BY_SUFFIX: dict[str, tuple[Callable[..., Changed], ...]] = {
    ".hdf5": HDF5,
    ".pkl": PICKLE,
    ".json": JSON,
    ".npz": ZIP,
    ".pt": ZIP,
    ".safetensors": SAFETENSORS,
    ".png": PNG,
    **dict.fromkeys((".txt", ".csv", ".yaml", ".camera", ".npy"), TEXT),
}


def version(path: Path, name: str, whole: bytes, number: int, seed: int) -> Version:
    """One damaged copy of a file; name: of its kind."""
    rng = np.random.default_rng([seed, zlib.crc32(name.encode()), number])
    known = BY_SUFFIX.get(path.suffix, ())
    if known and number % 2:
        change = known[number // 2 % len(known)]
        with suppress(Exception):  # a change that this file does not allow: its bytes, then
            said, content, forged = change(whole, rng)
            return Version(f"{number}: {said}", content, forged)
    damage = BYTES[(number // 2 if known else number) % len(BYTES)]
    return Version(f"{number}: {damage.__name__}", damage(whole, rng))
