"""Archives, and pickles as programs, looked at before they are unpacked or run: whether they would
take far more memory or time than their bytes. What pickles may call is for those who run them.
"""

import io
import mmap
import os
import pickletools
import zipfile
from pathlib import Path
from typing import IO, Any

BOMB = 64 << 20, 100  # bytes, and the archive's size so often, that its members may take
PUTS, GETS = ("PUT", "BINPUT", "LONG_BINPUT", "MEMOIZE"), ("GET", "BINGET", "LONG_BINGET", "DUP")
GROWING = ("APPEND", "APPENDS", "SETITEM", "SETITEMS", "ADDITEMS", "BUILD")  # the first they take
ATOM = [1]
OTHERS = (*GETS, "MARK", "GLOBAL", "EMPTY_LIST", "EMPTY_DICT", "EMPTY_SET")
ATOMS = {  # codes that put a number, a text or the like on the stack: nearly all of a long list
    opcode.code
    for opcode in pickletools.opcodes
    if opcode.stack_after and not opcode.stack_before and opcode.name not in OTHERS
}
AGAIN = 1 << 24, 16  # values that may be named again, written out; and so many a byte


def bytes_of(path: str | Path) -> Any:
    """A file's bytes: Python's own files ask for memory for any length they are told."""
    with open(path, "rb") as file:
        whole = os.path.getsize(path)
        return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) if whole else io.BytesIO()


def check_program(file: IO[bytes]) -> None:
    """Raise ValueError where the pickle that begins here would take more than its bytes.

    An unpickler makes room for all numbers below one that a value is remembered as; and what is
    named again may be written out at each place, when it is hashed, copied or made an array: pairs
    of pairs of a pair are 2^40 soon. Sizes are followed as the unpickler's stack would be.
    """
    stack: list[list[int]] = []  # of each value the size, shared as the value is
    marks: list[int] = []
    memo: dict[int, list[int]] = {}
    again, mark = 0, pickletools.markobject
    for opcode, argument, at in pickletools.genops(file):
        if opcode.code in ATOMS:
            stack.append(ATOM)
            continue
        name, before, place = opcode.name, opcode.stack_before, at or 0
        if name == "MARK":
            marks.append(len(stack))
        elif name in PUTS:
            number = len(memo) if name == "MEMOIZE" else int(argument or 0)
            if number > place:
                raise ValueError(f"a value is remembered as number {number}")
            memo[number] = stack[-1]
        elif name in GETS:
            stack.append(stack[-1] if name == "DUP" else memo[int(argument or 0)])
            again += stack[-1][0]
            if again > max(AGAIN[0], AGAIN[1] * place):
                raise ValueError("values that are named again would be far more than the pickle")
        elif name == "GLOBAL" and str(argument).endswith(" bytearray"):
            raise ValueError("it asks for bytes of any length")
        else:
            first = marks.pop() - before.index(mark) if mark in before else len(stack) - len(before)
            values = stack[first:]
            del stack[first:]
            size = sum(value[0] for value in values)
            if name in GROWING:
                if values[0] is ATOM:
                    raise ValueError(f"{name} of what cannot grow")
                stack.append(values[0])
                values[0][0] = size
            elif opcode.stack_after:
                new = values or name.endswith(("LIST", "DICT", "SET"))
                stack.append([1 + size] if new else ATOM)


def refuse_bomb(archive: zipfile.ZipFile, most: int = 0) -> None:
    """Raise ValueError where the members of an archive take far more than it does."""
    size = sum(member.file_size for member in archive.infolist())
    if size > max(most, BOMB[0], BOMB[1] * os.path.getsize(str(archive.filename))):
        raise ValueError(f"its members take {size} bytes, {BOMB[1]} times the file and more")
