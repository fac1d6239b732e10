"""results.json: what an evaluation found, written, and read back checked against its schema."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ames_lite.errors import BadInput, MissingFile
from ames_lite.io import remedies
from ames_lite.io.json_file import read_json_file
from ames_lite.stores.descriptor_store import say_empty

SCHEMA = 1
# by side {"of": number of images, "names": [...]}: their pairs have the logit NO_EVIDENCE, so that
# only the global similarity ranks them
WITHOUT_DESCRIPTORS = "without_descriptors"
CALLED = {"query": "queries", "gallery": "gallery images"}
KINDS: dict[str, type] = {
    **dict.fromkeys(("dataset", "desc_name", "model"), str),
    **dict.fromkeys(("config", "global", "digests"), dict),
    **dict.fromkeys(("rows", "per_query"), list),
}
KEYS = {  # of every entry of a list
    "rows": ("num_rerank", "lamb", "temp", "tuned_on", "metrics"),
    "per_query": ("name", "global_ap", "ap"),
}


def role_of(dataset_role: str, cells: int, tuned_on: str | None) -> str:
    """frozen (chosen elsewhere), given by hand, or of a grid; on a test set a grid is an oracle:
    whoever picks from it has tuned on the test set. cells: of the grid of λ and γ.
    """
    if cells > 1:
        return "oracle" if dataset_role == "test" else "grid"
    return "given" if tuned_on is None else "frozen"


def write_results(path: Path, results: dict[str, Any]) -> Path:
    """Write results.json; returns its path."""
    path.write_text(json.dumps(results, indent=1, allow_nan=False) + "\n", encoding="utf-8")
    return path


def results_path(path: str | Path) -> Path:
    """The file itself: a run directory stands for its results.json."""
    path = Path(path).expanduser()
    return path / "results.json" if path.is_dir() else path


def read_results(path: str | Path) -> dict[str, Any]:
    """The results. Raises MissingFile; BadInput for another schema or what is not as it says."""
    path, remedy = results_path(path), remedies.RESULTS
    if not path.is_file():
        raise MissingFile("there are no results here", where=path.absolute(), remedy=remedy)
    results = read_json_file(path, "results.json")
    expected = f"results of schema {SCHEMA}"
    schema = results.get("schema") if isinstance(results, dict) else None
    if schema != SCHEMA:
        raise BadInput(f"schema is {schema!r}", where=path, expected=expected)
    wrong = [key for key, kind in KINDS.items() if not isinstance(results.get(key), kind)]
    for name, keys in KEYS.items():
        entries = [] if name in wrong else results[name]
        if not all(isinstance(entry, dict) and entry.keys() >= set(keys) for entry in entries):
            wrong.append(f"{name} (each with {', '.join(keys)})")
    if wrong or not results["rows"]:
        what = f"absent, empty or of a wrong type: {', '.join(wrong) or 'rows'}"
        raise BadInput(what, where=path, expected=expected, remedy=remedy)
    return results


def say_without_descriptors(results: Mapping[str, Any]) -> list[str]:
    """A sentence a side that has any; none for results of older versions."""
    found = results.get(WITHOUT_DESCRIPTORS, {})
    return [
        f"{say_empty(found[side]['names'], found[side]['of'], what)} (ranked by the global "
        "similarity alone)"
        for side, what in CALLED.items()
        if found.get(side, {}).get("names")
    ]
