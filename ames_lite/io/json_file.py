"""JSON of files, read so that what is wrong with it is a user's error."""

import json
from pathlib import Path
from typing import Any

from ames_lite.errors import explained


def read_json_file(path: Path, expected: str, remedy: str | None = None) -> Any:
    """The content of a file that is there. Raises BadInput where it is no JSON in UTF-8."""
    what = "the file cannot be read: {}"
    with explained(what, OSError, where=path, expected=expected, remedy=remedy):
        content = path.read_bytes()
    return parse_json(content, path, expected, remedy)


def parse_json(text: Any, where: str | Path, expected: str, remedy: str | None = None) -> Any:
    """The value of JSON, text or UTF-8 bytes. BadInput also for a key that is there twice."""
    kinds = (ValueError, TypeError, RecursionError)
    with explained("not JSON ({})", kinds, where=where, expected=expected, remedy=remedy):
        return json.loads(text, object_pairs_hook=_unique)


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in pairs:
        if key in found:
            raise ValueError(f"the key '{key}' is there twice")
        found[key] = value
    return found
