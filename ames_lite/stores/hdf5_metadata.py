"""Metadata of an HDF5 file that HDF5 would take for true, looked at before.

The names of a group of the older form, and the mapping of a virtual data set, lie in heaps without
checksums, or ones that HDF5 compares too late: damaged sizes bring it down, lead it in circles or
make it ask for any memory.
"""

import struct
from collections.abc import Callable, Iterator

import numpy as np

Read = Callable[[int, int], bytes]  # from a place of the file, so many bytes
LAYOUT, CONTINUED, NAMES = 8, 16, 17  # kinds of messages of an object's header
VIRTUAL = 3  # a class of layouts
NOWHERE = (1 << 64) - 1
WORD = (1 << 32) - 1
ROOT = {0: 64, 1: 68, 2: 36, 3: 36}  # where the first block says it, by its version


def check_object(read: Read, address: int | None) -> None:
    """Raise ValueError where a group's names or a virtual data set's mapping were changed.

    None: of the root. What is no header or ends beyond the file is left to HDF5, which refuses it.
    """
    if address is None:
        head = read(0, 96).ljust(96, b"\0")
        (address,) = struct.unpack_from("<Q", head, ROOT.get(head[8], 36))
    for kind, body in _messages(read, address):
        if kind == LAYOUT and len(body) >= 14 and body[0] >= 4 and body[1] == VIRTUAL:
            at, index = struct.unpack_from("<QI", body, 2)
            mapping = b"" if at == NOWHERE else _in_heap(read, at, index)
            if mapping and _lookup3(mapping[:-4]) != int.from_bytes(mapping[-4:], "little"):
                raise ValueError("its mapping was changed: another checksum")
        elif kind == NAMES and len(body) >= 16:
            heap = read(int.from_bytes(body[8:16], "little"), 32)
            size, _, begin = struct.unpack("<8xQQQ", heap.ljust(32, b"\0"))
            if len(read(begin, size)) != size:
                raise ValueError("its names lie beyond the end of the file")


def _messages(read: Read, address: int) -> Iterator[tuple[int, bytes]]:
    """Kind and body of the messages of a header, of the older form or the newer (OHDR)."""
    head = read(address, 48).ljust(48, b"\0")
    newer, flags = head[:4] == b"OHDR", head[5]
    if newer:
        start = 6 + (16 if flags & 0x20 else 0) + (4 if flags & 0x10 else 0)
        width = 1 << (flags & 3)
        blocks = [(address + start + width, int.from_bytes(head[start : start + width], "little"))]
        form, size = "<BH", 6 if flags & 4 else 4
    else:
        blocks = [(address + 16, struct.unpack_from("<I", head, 8)[0])] if head[0] == 1 else []
        form, size = "<HH", 8
    for begin, length in blocks:  # grows
        block, at = read(begin, length), 0
        while at + size <= len(block):
            kind, taken = struct.unpack_from(form, block, at)
            body = block[at + size : at + size + taken]
            at += size + taken
            if kind == CONTINUED and len(body) >= 16:
                more, rest = struct.unpack_from("<QQ", body)
                more = (more + 4, rest - 8) if newer else (more, rest)  # a name, a checksum
                blocks += [more] if more not in blocks and rest >= 8 else []
            yield kind, body


def _in_heap(read: Read, address: int, wanted: int) -> bytes:
    """An object of a collection of the heap. Raises ValueError where any of them does not fit."""
    head = read(address, 16)
    size = int.from_bytes(head[8:], "little")
    collection = read(address, size) if head[:4] == b"GCOL" else b""
    if not 16 < size == len(collection):
        raise ValueError("its mapping lies beyond the end of the file")
    at, found = 16, b""
    while at + 16 <= size:
        index, length = struct.unpack_from("<H6xQ", collection, at)
        taken = 16 + -(-length // 8) * 8 if index else length  # 0: what is free, with its head
        if not 16 <= taken <= size - at:
            raise ValueError("its mapping does not fit into the heap")
        found = collection[at + 16 : at + 16 + length] if index == wanted else found
        at += taken
    if len(found) < 4:
        raise ValueError("its mapping is not in the heap")
    return found


def _lookup3(content: bytes) -> int:
    """The checksum of HDF5's metadata: a hash by R. Jenkins."""
    words = np.frombuffer(content + bytes(-len(content) % 12), "<u4").tolist()
    a = b = c = (0xDEADBEEF + len(content)) & WORD
    for at in range(0, len(words), 3):
        a, b, c = a + words[at], b + words[at + 1], c + words[at + 2]
        for shift in (4, 6, 8, 16, 19, 4) if at + 3 < len(words) else ():
            a, b, c = b, (c + b) & WORD, ((a - c) & WORD) ^ _turned(c, shift)
    for shift in (14, 11, 25, 16, 4, 14, 24):
        a, b, c = b, ((c ^ b) - _turned(b, shift)) & WORD, a
    return b


def _turned(word: int, shift: int) -> int:
    word &= WORD
    return (word << shift | word >> (32 - shift)) & WORD
