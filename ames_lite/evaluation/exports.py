"""The ranking of one row of a grid, written in the forms that other programs read.

A graded protocol (ROxford, RParis) has one ranking a setting, that of its own pass with its junk at
the end, so the setting stands in the file's name (`run_medium.trec`); metrics follow from such a
file only with the setting's junk taken out. An ungraded protocol has bare names (`run.trec`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ames_lite.errors import BadInput
from ames_lite.evaluation.data import EvaluationData
from ames_lite.evaluation.passes import rerank_setting
from ames_lite.evaluation.protocols import Protocol
from ames_lite.evaluation.rankings import write_ranking
from ames_lite.records import Neighbors, PairScores, Ranking

FORMS = {  # file name; {} is the setting of a graded protocol
    "trec": "run{}.trec",
    "json": "retrieval_results{}.json",
    "json_scores": "retrieval_results{}_scores.json",
    "csv": "ranking{}.csv",
    "pairs": "pairs{}.csv",
}


def check_exports(
    forms: Sequence[str], protocol: Protocol, setting: str | None = None, top: int | None = None
) -> str:
    """The setting whose ranking is written: the one given, else medium, or all where ungraded.

    Raises BadInput for unknown forms, a setting that the protocol has not, or top < 1.
    """
    unknown = [form for form in forms if form not in FORMS]
    if unknown or len(set(forms)) != len(forms):
        raise BadInput(f"exports {list(forms)}", expected=f"some of {', '.join(FORMS)}, each once")
    if top is not None and top < 1:
        raise BadInput(f"the first {top} images are to be exported", expected="1 or more")
    if setting is None:
        return protocol.main_settings[0]
    if setting not in protocol.settings:
        expected = " or ".join(protocol.settings)
        raise BadInput(f"the protocol has no setting '{setting}'", expected=expected)
    return setting


def write_exports(
    folder: Path,
    forms: Sequence[str],
    data: EvaluationData,
    scores: PairScores,
    row: Mapping[str, Any],
    *,
    tag: str,
    setting: str,
    top: int | None = None,
) -> list[Path]:
    """Write the ranking of a row of results.json into a folder, once a form; returns the paths.

    row: its num_rerank, lamb and temp count; forms, setting: of `check_exports`; tag: the name of
    the TREC run; top: the first images of every query, None: all. Raises BadInput as
    `rerank_setting` does, and for a file that is there.
    """
    if not forms:
        return []
    neighbors, truth, num_rerank = data.neighbors, data.ground_truth, row["num_rerank"]
    cell = {key: row[key] for key in ("num_rerank", "lamb", "temp")}
    whole = rerank_setting(neighbors, truth, scores, setting, **cell)
    ranking = Ranking(whole.ids[:, :top], whole.scores[:, :top], whole.num_gallery)
    names, end = (truth.query_names, truth.gallery_names), f"_{setting}" * data.protocol.graded
    behind: dict[str, Any] = {}
    if "pairs" in forms:
        behind["sims"] = _sims_of(neighbors, ranking.ids)
        behind["logits"] = scores.lookup(ranking.ids[:, :num_rerank])
    return [
        write_ranking(folder / FORMS[form].format(end), form, *names, ranking, tag=tag, **behind)
        for form in forms
    ]


def _sims_of(neighbors: Neighbors, ids: npt.NDArray[np.integer]) -> npt.NDArray[np.float32]:
    by_id = np.argsort(neighbors.ids, axis=1)
    sims = np.empty(ids.shape, np.float32)
    for q, order in enumerate(by_id):
        place = np.searchsorted(neighbors.ids[q], ids[q], sorter=order)
        sims[q] = neighbors.sims[q, order[place]]
    return sims
