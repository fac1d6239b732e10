"""results.json, read back: what an evaluation found, checked against its schema.

Input: the file, or the run directory that it lies in. Output: the dict as it was written (schema
1).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ames_lite.errors import BadInput, MissingFile
from ames_lite.io import remedies
from ames_lite.io.json_file import read_json_file

SCHEMA = 1
KINDS: dict[str, type] = {
    "dataset": str,
    "desc_name": str,
    "model": str,
    "config": dict,
    "global": dict,
    "rows": list,
    "per_query": list,
    "digests": dict,
}
ROW = ("num_rerank", "lamb", "temp", "tuned_on", "metrics")
QUERY = ("name", "global_ap", "ap")
REMEDY = remedies.RESULTS


def role_of(dataset_role: str, cells: int, tuned_on: str | None) -> str:
    """What a row may be used for: frozen (chosen elsewhere), given by hand, or of a grid.

    cells: of the grid of λ and γ. On a test set a grid is an oracle: whoever picks from it has
    tuned on the test set.
    """
    if cells > 1:
        return "oracle" if dataset_role == "test" else "grid"
    return "given" if tuned_on is None else "frozen"


def results_path(path: str | Path) -> Path:
    """The file itself: a run directory stands for its results.json."""
    path = Path(path).expanduser()
    return path / "results.json" if path.is_dir() else path


def read_results(path: str | Path) -> dict[str, Any]:
    """The results. Raises MissingFile; BadInput for another schema or what is not as it says."""
    path = results_path(path)
    if not path.is_file():
        raise MissingFile("there are no results here", where=path.absolute(), remedy=REMEDY)
    results = read_json_file(path, "results.json")
    schema = results.get("schema") if isinstance(results, dict) else None
    if schema != SCHEMA:
        raise BadInput(f"schema is {schema!r}", where=path, expected=f"results of schema {SCHEMA}")
    wrong = [key for key, kind in KINDS.items() if not isinstance(results.get(key), kind)]
    for list_name, keys in (("rows", ROW), ("per_query", QUERY)):
        entries = results.get(list_name)
        if list_name not in wrong and not all(_has(entry, keys) for entry in entries):
            wrong.append(f"{list_name} (each with {', '.join(keys)})")
    if wrong or not results["rows"]:
        what = f"absent, empty or of a wrong type: {', '.join(wrong) or 'rows'}"
        raise BadInput(what, where=path, expected=f"results of schema {SCHEMA}", remedy=REMEDY)
    return results


def _has(entry: Any, keys: tuple[str, ...]) -> bool:
    return isinstance(entry, dict) and all(key in entry for key in keys)
