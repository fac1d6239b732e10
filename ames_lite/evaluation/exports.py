"""The rankings of an evaluation, in the forms of `stores.candidates`, and the pairs behind them.

A graded protocol (ROxford, RParis) has one ranking for each setting, named in the file
(`run_medium.trec`), with its junk at the end: metrics follow only with that taken out.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ames_lite.errors import require
from ames_lite.evaluation.data import EvaluationData
from ames_lite.evaluation.passes import Cell, rerank_setting
from ames_lite.evaluation.protocols import Protocol
from ames_lite.records import PairScores
from ames_lite.stores.candidates import WRITTEN, write_ranking


def check_exports(
    forms: Sequence[str], protocol: Protocol, setting: str | None = None, top: int | None = None
) -> str:
    """The setting whose ranking is written, by default medium, or all where ungraded. BadInput."""
    fine = set(forms) <= set(WRITTEN) and len(set(forms)) == len(forms)
    require(fine, f"exports {list(forms)}", expected=f"some of {', '.join(WRITTEN)}, each once")
    what = f"the first {top} images are to be exported"
    require(top is None or top >= 1, what, expected="1 or more")
    if setting is None:
        return protocol.main_settings[0]
    what = f"the protocol has no setting '{setting}'"
    require(setting in protocol.settings, what, expected=" or ".join(protocol.settings))
    return setting


def write_exports(
    folder: Path,
    forms: Sequence[str],
    data: EvaluationData,
    scores: PairScores,
    cell: Cell,
    *,
    tag: str,
    setting: str,
    top: int | None = None,
) -> list[Path]:
    """Write the reranked lists into a folder, once a form; returns the paths. tag: of TREC."""
    if not forms:
        return []
    ranking, truth = rerank_setting(data, scores, setting, cell).first(top), data.ground_truth
    names, end = (truth.query_names, truth.gallery_names), f"_{setting}" * data.protocol.graded
    sims = logits = None
    if "pairs" in forms:
        query = np.repeat(np.arange(len(ranking.ids), dtype=np.int32), data.neighbors.ids.shape[1])
        given = query, data.neighbors.ids.ravel(), data.neighbors.sims.ravel()
        sims = PairScores(*given).lookup(ranking.ids)
        logits = scores.lookup(ranking.ids[:, : cell.num_rerank])
    more: dict[str, Any] = {"tag": tag, "sims": sims, "logits": logits}
    return [
        write_ranking(folder / WRITTEN[form].format(end), form, *names, ranking, **more)
        for form in forms
    ]
