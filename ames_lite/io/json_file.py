"""JSON of files, read so that what is wrong with it is a user's error."""

import json
from pathlib import Path
from typing import Any

from ames_lite.errors import BadInput


def read_json_file(path: Path, expected: str, remedy: str | None = None) -> Any:
    """The content of a file that is there. Raises BadInput where it is no JSON in UTF-8."""
    try:
        content = path.read_bytes()
    except OSError as error:
        what = f"the file cannot be read: {error}"
        raise BadInput(what, where=path, expected=expected, remedy=remedy) from error
    return parse_json(content, path, expected, remedy)


def parse_json(text: Any, where: str | Path, expected: str, remedy: str | None = None) -> Any:
    """The value of JSON, text or UTF-8 bytes. BadInput also for a key that is there twice."""
    try:
        return json.loads(text, object_pairs_hook=_unique)
    except (ValueError, TypeError, RecursionError) as error:
        raise BadInput(
            f"not JSON ({error})", where=where, expected=expected, remedy=remedy
        ) from error


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in pairs:
        if key in found:
            raise ValueError(f"the key '{key}' is there twice")
        found[key] = value
    return found
