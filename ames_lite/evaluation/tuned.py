"""What tuning chose, on disk: `tuned.json` of a run directory, read by evaluation.

The choice is for one model and its weights; with others it is refused.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ames_lite.errors import BadInput, MissingFile
from ames_lite.io import remedies
from ames_lite.io.json_file import read_json_file
from ames_lite.io.writing import replacing

REMEDY = remedies.TUNE


@dataclass(frozen=True)
class Tuned:
    """num_rerank ≥ 1, lamb in [0, 1], temp > 0; tuned_on: the validation set; model: its name and
    `weights` a digest of it; metric and value: what was reached there, a fraction in [0, 1].
    """

    num_rerank: int
    lamb: float
    temp: float
    tuned_on: str
    model: str
    weights: str
    metric: str
    value: float

    def check(self, model: str, weights: str, path: str | Path) -> None:
        """Raise BadInput where it was chosen for another model."""
        for what, mine, its in (("model", model, self.model), ("weights", weights, self.weights)):
            if mine != its:
                raise BadInput(
                    f"tuned with {what} {its}, this run has {mine}",
                    where=path,
                    expected=f"what was chosen with the same {what}",
                    remedy=f"{REMEDY} with this model",
                )


def write_tuned(path: str | Path, tuned: Tuned) -> Path:
    """Write the choice; returns the path."""
    with replacing(path) as partial:
        text = json.dumps({"schema": 1, **asdict(tuned)}, indent=1, allow_nan=False)
        partial.write_text(text + "\n", encoding="utf-8")
    return Path(path)


def read_tuned(path: str | Path) -> Tuned:
    """The choice at `path`, a file or a run directory with `tuned.json`.

    Raises MissingFile, or BadInput where the file is none or its values are out of range.
    """
    path = Path(path).expanduser()
    path = path / "tuned.json" if path.is_dir() else path
    if not path.is_file():
        raise MissingFile("a choice of tuning is missing", where=path, remedy=REMEDY)
    content: Any = read_json_file(path, "tuned.json", REMEDY)
    try:
        assert isinstance(content, dict) and content.pop("schema", None) == 1
        tuned = Tuned(**content)
        assert isinstance(tuned.num_rerank, int) and tuned.num_rerank >= 1
        assert 0 <= tuned.lamb <= 1 and 0 < tuned.temp < 1e9
        assert all(isinstance(v, str) for v in (tuned.tuned_on, tuned.model, tuned.weights))
    except (ValueError, TypeError, AssertionError) as error:
        raise BadInput(
            "this is no choice of tuning", where=path, expected="tuned.json", remedy=REMEDY
        ) from error
    return tuned
