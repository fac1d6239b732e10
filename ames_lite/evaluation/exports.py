"""The ranking of one row of a grid, written in the forms that other programs read.

A graded protocol (ROxford, RParis) has one ranking a setting, that of its own pass with its junk at
the end, so the setting stands in the file's name (`run_medium.trec`); an ungraded protocol has one
ranking and bare names (`run.trec`). Metrics of a graded setting follow from its file only with the
setting's junk taken out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ames_lite.errors import BadInput
from ames_lite.evaluation import rankings
from ames_lite.evaluation.evaluator import EvaluationData
from ames_lite.evaluation.passes import rerank_setting
from ames_lite.evaluation.protocols import Protocol
from ames_lite.records import Neighbors, PairScores

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
        return "medium" if protocol.graded else "all"
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
    setting: str | None = None,
    top: int | None = None,
) -> list[Path]:
    """Write the ranking of a row of results.json into a folder, once a form; returns the paths.

    row: its num_rerank, lamb and temp count; forms: of FORMS; tag: the name of the TREC run;
    setting: of the protocol, None: medium; top: the first images of every query, None: all.
    Raises BadInput as `check_exports` and `rerank_setting` do, and for a file that is there.
    """
    setting, protocol = check_exports(forms, data.protocol, setting, top), data.protocol
    if not forms:
        return []
    neighbors, ground_truth, num_rerank = data.neighbors, data.ground_truth, row["num_rerank"]
    whole = rerank_setting(
        neighbors,
        ground_truth,
        scores,
        setting,
        num_rerank=num_rerank,
        lamb=row["lamb"],
        temp=row["temp"],
    )
    ranking = rankings.first_of(whole, top)
    names = (ground_truth.query_names, ground_truth.gallery_names)
    paths = []
    for form in forms:
        path = folder / FORMS[form].format(f"_{setting}" if protocol.graded else "")
        if form == "trec":
            rankings.write_trec_run(path, *names, ranking, tag=tag)
        elif form == "csv":
            rankings.write_ranking_csv(path, *names, ranking)
        elif form == "pairs":
            sims = sims_of(neighbors, ranking.ids)
            logits = scores.lookup(ranking.ids[:, :num_rerank])
            rankings.write_pairs(path, *names, ranking, sims, logits)
        else:
            scored = form == "json_scores"
            rankings.write_ranking_json(path, *names, ranking, with_scores=scored)
        paths.append(path)
    return paths


def sims_of(neighbors: Neighbors, ids: npt.NDArray[np.integer]) -> npt.NDArray[np.float32]:
    """The global similarities [Q, k] of images ids [Q, k] that stand in the lists."""
    by_id = np.argsort(neighbors.ids, axis=1)
    sims = np.empty(ids.shape, np.float32)
    for q, order in enumerate(by_id):
        place = np.searchsorted(neighbors.ids[q], ids[q], sorter=order)
        sims[q] = neighbors.sims[q, order[place]]
    return sims
