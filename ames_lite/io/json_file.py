"""JSON files: written whole, with a digest of what they say; what is wrong with one is said."""

import hashlib
import json
import os
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ames_lite.errors import explained, require
from ames_lite.io.writing import replacing

DIGEST = "content_sha256"


def write_json_file(
    path: str | Path, content: Mapping[str, Any], *, overwrite: bool = True, indent: int | None = 1
) -> Path:
    """Write a dict (paths as text) and its digest; returns the path. ValueError for NaN."""
    with replacing(path, overwrite) as partial:
        partial.write_bytes(json_bytes(content, indent))
    return Path(path)


def json_bytes(content: Mapping[str, Any], indent: int | None = 1) -> bytes:
    """A dict as JSON that `read_json_file` verifies, in UTF-8."""
    plain = json.loads(json.dumps(dict(content), allow_nan=False, default=os.fspath))
    separators = None if indent else (",", ":")
    whole = plain | {DIGEST: _digest(plain)}
    text = json.dumps(whole, indent=indent, separators=separators, ensure_ascii=False)
    return f"{text}\n".encode("utf-8", "surrogatepass")  # names that are not UTF-8 on the disk


def read_json_file(path: Path, expected: str, remedy: str | None = None) -> Any:
    """The content of a file, its digest verified and dropped. BadInput: no JSON, or changed."""
    what = "the file cannot be read: {}"
    with explained(what, OSError, where=path, expected=expected, remedy=remedy):
        content = path.read_bytes()
    found = parse_json(content, path, expected, remedy)
    if isinstance(found, dict) and found:
        last = DIGEST if DIGEST in found else [*found][-1]  # a key that was changed digests too
        rest = {key: value for key, value in found.items() if key != last}
        fits = isinstance(found[last], str) and found[last] == _digest(rest)
        same = fits is (last == DIGEST)
        found.pop(DIGEST, None)
        what = "the file was changed after it was written: its digest is another"
        anew = f"{remedy or 'make it again'}; if you changed it knowingly, drop its {DIGEST}"
        require(same, what, where=path, expected=expected, remedy=anew)
    return found


def parse_json(text: Any, where: str | Path, expected: str, remedy: str | None = None) -> Any:
    """The value of JSON, text or UTF-8 bytes. BadInput also for a key that is there twice."""
    kinds = (ValueError, TypeError, RecursionError)
    with explained("not JSON ({})", kinds, where=where, expected=expected, remedy=remedy):
        return json.loads(text, object_pairs_hook=_unique)


def _digest(content: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        twice = Counter(key for key, _ in pairs).most_common(1)[0][0]
        raise ValueError(f"the key '{twice}' is there twice")
    return found
