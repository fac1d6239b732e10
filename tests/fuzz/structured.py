"""Changes that know a format: pickles, zip archives, JSON, texts, safetensors and PNG."""

from __future__ import annotations

import io
import json
import pickletools
import re
import struct
import zipfile
import zlib
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from ames_lite.io.json_file import DIGEST, json_bytes

Random = np.random.Generator
NUMBERS = (0, -1, 2**31 - 1, 2**32, 2**63 - 1)
ODD: tuple[Any, ...] = (*NUMBERS, 0.5, 1e308, True, None, "", "\0", "../x", "ä" * 300, [], {}, [[]])


class Changed(NamedTuple):
    """forged: what in the file tells of changes was made to fit."""

    said: str
    content: bytes
    forged: bool = False


def one_of(rng: Random, values: Any) -> Any:
    return values[int(rng.integers(len(values)))]


# ---------------------------------------------------------------- pickles


def _operations(whole: bytes) -> list[tuple[str, int, int]]:
    """Name, begin and end of every operation of the first pickle; none where it is no pickle."""
    try:
        found = [(code.name, at) for code, _, at in pickletools.genops(whole) if at is not None]
    except Exception:  # noqa: BLE001 - of what is no pickle nearly anything is raised
        return []
    stop = found[-1][1] + 1
    ends = [at for _, at in found[1:]] + [stop]
    return [(name, at, end) for (name, at), end in zip(found, ends, strict=True)]


def operations(whole: bytes, rng: Random) -> Changed:
    """An operation is dropped, doubled, or changes places with another."""
    found = _operations(whole)
    if len(found) < 3:
        return Changed("no pickle", whole[:-1])
    (_, a, b), (_, c, d) = (found[i] for i in sorted(rng.choice(len(found), 2, replace=False)))
    how = one_of(rng, ("drop", "double", "swap"))
    if how == "drop":
        return Changed(f"operation at {a} dropped", whole[:a] + whole[b:])
    if how == "double":
        return Changed(f"operation at {a} doubled", whole[:b] + whole[a:])
    swapped = whole[:a] + whole[c:d] + whole[b:c] + whole[a:b] + whole[d:]
    return Changed(f"operations at {a} and {c} swapped", swapped)


def arguments(whole: bytes, rng: Random) -> Changed:
    """The argument of an operation: a memo index, a length, a number."""
    found = [(name, at + 1, end) for name, at, end in _operations(whole) if end - at > 1]
    if not found:
        return Changed("no pickle", whole[1:])
    name, begin, end = one_of(rng, found)
    wide = {"BINGET": 1, "BINPUT": 1, "SHORT_BINUNICODE": 1, "SHORT_BINBYTES": 1, "BININT1": 1}
    wide |= {"BININT2": 2, "FRAME": 8, "BINUNICODE8": 8, "BINBYTES8": 8, "BYTEARRAY8": 8}
    width = min(wide.get(name, 4), end - begin)
    number = one_of(rng, NUMBERS) % 2 ** (8 * width)
    if rng.integers(2):
        number = (int.from_bytes(whole[begin : begin + width], "little") + 1) % 2 ** (8 * width)
    field = number.to_bytes(width, "little")
    return Changed(f"{name} at {begin}", whole[:begin] + field + whole[begin + width :])


PICKLE = (operations, arguments)


# ---------------------------------------------------------------- zip archives: npz, tensors


def _members(whole: bytes) -> dict[str, bytes]:
    with zipfile.ZipFile(io.BytesIO(whole)) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def _archive(members: list[tuple[str, bytes]], compression: int = zipfile.ZIP_STORED) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", compression) as archive:
        for name, content in members:
            archive.writestr(zipfile.ZipInfo(name), content, compression)
    return stream.getvalue()


def members(whole: bytes, rng: Random) -> Changed:
    """A member is renamed, dropped, doubled, compressed, or has another's content."""
    if not zipfile.is_zipfile(io.BytesIO(whole)):
        return operations(whole, rng)  # of older files of tensors
    found = list(_members(whole).items())
    one, other = (int(rng.integers(len(found))) for _ in range(2))
    how = one_of(rng, ("rename", "drop", "double", "swap", "compress", "absolute"))
    name, content = found[one]
    if how == "drop":
        del found[one]
    elif how == "double":
        found.append((name, found[other][1]))
    elif how == "swap":
        found[one], found[other] = (name, found[other][1]), (found[other][0], content)
    elif how != "compress":
        found[one] = (f"/{name}" if how == "absolute" else f"{name}x", content)
    kind = zipfile.ZIP_DEFLATED if how == "compress" else zipfile.ZIP_STORED
    return Changed(f"member {name}: {how}", _archive(found, kind), True)


def member_content(whole: bytes, rng: Random) -> Changed:
    """A member's bytes are changed, with a checksum that fits; pickles and headers by structure."""
    if not zipfile.is_zipfile(io.BytesIO(whole)):
        return arguments(whole, rng)
    found = list(_members(whole).items())
    at = int(rng.integers(len(found)))
    if rng.integers(2):  # what describes the others
        at = next((i for i, (name, _) in enumerate(found) if name.endswith("data.pkl")), at)
    name, content = found[at]
    change = one_of(rng, PICKLE if name.endswith(".pkl") else (numbers, shorter, longer))
    said, content, _ = change(content, rng)
    found[at] = (name, content)
    return Changed(f"member {name}: {said}", _archive(found), True)


def stored_sizes(whole: bytes, rng: Random) -> Changed:
    """The sizes or checksums that an archive gives of a member, in one of their two places."""
    starts = [m.start() for m in re.finditer(rb"PK\x01\x02|PK\x03\x04", whole)]
    if not starts:
        return arguments(whole, rng)
    at = one_of(rng, starts)
    field = at + (16 if whole[at + 2] == 1 else 14) + 4 * int(rng.integers(3))
    number = one_of(rng, NUMBERS) % 2**32
    changed = whole[:field] + number.to_bytes(4, "little") + whole[field + 4 :]
    return Changed(f"header at {at}, field at {field}", changed)


ZIP = (members, member_content, stored_sizes)


# ---------------------------------------------------------------- texts, and headers of .npy


def numbers(whole: bytes, rng: Random) -> Changed:
    """A number in decimal digits becomes another."""
    found = list(re.finditer(rb"-?[0-9]+", whole[:65536]))
    if not found:
        return Changed("no number", whole[:-1])
    digits = one_of(rng, found)
    other = one_of(rng, (*NUMBERS, 1, 2, 7, 1e400, 10**40, 3.5))
    changed = whole[: digits.start()] + str(other).encode() + whole[digits.end() :]
    return Changed(f"{digits.group().decode()} is {other}", changed)


def shorter(whole: bytes, rng: Random) -> Changed:
    return Changed("cut", whole[: int(rng.integers(len(whole) + 1))])


def longer(whole: bytes, rng: Random) -> Changed:
    return Changed("longer", whole + rng.bytes(int(rng.integers(1, 64))))


def lines(whole: bytes, rng: Random) -> Changed:
    """A line is dropped, doubled, moved, made longer, or joined to the next."""
    found = whole.splitlines(keepends=True) or [b""]
    one, other = (int(rng.integers(len(found))) for _ in range(2))
    how = one_of(rng, ("drop", "double", "swap", "long", "join", "blank"))
    if how == "drop":
        del found[one]
    elif how == "double":
        found.insert(other, found[one])
    elif how == "swap":
        found[one], found[other] = found[other], found[one]
    elif how == "long":
        found[one] = found[one].rstrip() * 2000 + b"\n"
    else:
        found[one] = found[one].rstrip() if how == "join" else b"\n"
    return Changed(f"line {one}: {how}", b"".join(found))


def fields(whole: bytes, rng: Random) -> Changed:
    """A word between commas, blanks or quotes becomes another one."""
    found = list(re.finditer(rb"[^\s,:'\"{}\[\]()]+", whole[:65536]))
    if not found:
        return Changed("no word", whole + b"x")
    word = one_of(rng, found)
    odd = (b"", b"\0", b"nan", b"inf", b"1e999", b"'", b'"', b",", b"../../x", b"[[", b"&a *a")
    other = one_of(rng, (*odd, b"\xff\xfe", b"<b>", b"-", b"O", b"<f4", one_of(rng, found).group()))
    changed = whole[: word.start()] + other + whole[word.end() :]
    return Changed(f"{word.group()!r:.40} is {other!r:.40}", changed)


def encodings(whole: bytes, rng: Random) -> Changed:
    name = one_of(rng, ("utf-8-sig", "utf-16", "utf-16-le", "utf-32", "utf-7", "cp037"))
    return Changed(name, whole.decode("latin-1").encode(name, "replace"))


TEXT = (numbers, fields, lines, fields, numbers, encodings)


# ---------------------------------------------------------------- JSON


def _holders(value: Any) -> list[tuple[Any, Any]]:
    """Every place (a dict or list and the key in it) of a value, however deep."""
    keys = value.keys() if isinstance(value, dict) else range(len(value))
    if not isinstance(value, dict | list):
        return []
    found = []
    for key in keys:
        found.append((value, key))
        if isinstance(value[key], dict | list):
            found += _holders(value[key])
    return found


def _change_value(content: Any, rng: Random) -> str:
    holder, key = one_of(rng, _holders(content))
    before, how = holder[key], one_of(rng, ("drop", "odd", "odd", "number", "double", "deep"))
    number = isinstance(before, int | float) and not isinstance(before, bool)
    if how == "drop":
        del holder[key]
    elif how == "number" and number:
        holder[key] = one_of(rng, (before + 1, -before, before / 2, *NUMBERS))
    elif how == "double" and isinstance(holder, list):
        holder.append(before)
    elif how == "deep":
        holder[key] = json.loads("[" * 200 + "]" * 200)
    elif isinstance(before, str) and rng.integers(2):
        holder[key] = one_of(rng, (before + "x", before[1:], before.upper()))
    else:
        holder[key] = one_of(rng, ODD)
    return f"{key!r:.40}: {how} {holder.get(key) if isinstance(holder, dict) else ''!r:.40}"


def _changed(whole: bytes, rng: Random) -> tuple[str, Any, str | None]:
    """What was said, the changed content, the digest that it had."""
    content = json.loads(whole)
    digest = content.pop(DIGEST, None) if isinstance(content, dict) else None
    return _change_value(content, rng), content, digest


def values(whole: bytes, rng: Random) -> Changed:
    """A value or key, the digest as it was."""
    said, content, digest = _changed(whole, rng)
    again = content | {DIGEST: digest} if digest is not None else content
    return Changed(said, json.dumps(again).encode())


def forged_values(whole: bytes, rng: Random) -> Changed:
    """A value or key, with the digest of the new content."""
    said, content, digest = _changed(whole, rng)
    if digest is None:
        return Changed(said, json.dumps(content).encode())
    return Changed(f"{said}, forged", json_bytes(content), True)


JSON: tuple[Callable[..., Changed], ...] = (values, forged_values, numbers, fields)


# ---------------------------------------------------------------- safetensors, PNG


def header(whole: bytes, rng: Random) -> Changed:
    """The JSON header: a value, or a number in its text; its length fits or not."""
    (size,) = struct.unpack("<Q", whole[:8])
    change = one_of(rng, (values, numbers, fields))
    said, text, _ = change(whole[8 : 8 + size], rng)
    length = one_of(rng, (len(text), len(text), size, *[n % 2**64 for n in NUMBERS]))
    return Changed(f"header: {said}", struct.pack("<Q", length) + text + whole[8 + size :])


SAFETENSORS = (header,)


def chunks(whole: bytes, rng: Random) -> Changed:
    """A chunk of a PNG is changed, doubled or moved, with checksums that fit."""
    found, at = [], 8
    while at + 8 <= len(whole):
        (size,) = struct.unpack(">I", whole[at : at + 4])
        found.append((whole[at + 4 : at + 8], whole[at + 8 : at + 8 + size]))
        at += 12 + size
    one, other = (int(rng.integers(len(found))) for _ in range(2))
    how = one_of(rng, ("field", "field", "double", "swap", "drop"))
    if how == "field":
        name, data = found[one]
        place = int(rng.integers(max(1, len(data) - 3)))
        field = (one_of(rng, NUMBERS) % 2**32).to_bytes(4, "big")
        found[one] = name, data[:place] + field + data[place + 4 :]
    elif how == "double":
        found.insert(other, found[one])
    elif how == "swap":
        found[one], found[other] = found[other], found[one]
    else:
        del found[one]
    parts = [
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
        for name, data in found
    ]
    return Changed(f"chunk {one}: {how}", whole[:8] + b"".join(parts))


PNG = (chunks,)
