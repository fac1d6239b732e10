"""The rankings of an evaluation, in the forms of `stores.candidates`, and the pairs behind them.

A graded protocol (ROxford, RParis) has one ranking for each setting, named in the file
(`run_medium.trec`), with its junk at the end: metrics follow only with that taken out.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ames_lite.errors import require
from ames_lite.evaluation.data import ListData
from ames_lite.evaluation.passes import Cell, rerank_setting
from ames_lite.evaluation.protocols import Protocol
from ames_lite.records import PairScores
from ames_lite.stores.candidates import WRITTEN, Candidates, in_form, write_candidates


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
    data: ListData,
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
    lists, columns = Candidates.of_arrays(ranking.ids, ranking.sims), dict[str, Any]()
    if "pairs" in forms:
        query = np.repeat(np.arange(len(ranking.ids), dtype=np.int32), data.neighbors.ids.shape[1])
        given = query, data.neighbors.ids.ravel(), data.neighbors.sims.ravel()
        columns["sim"] = PairScores(*given).lookup(ranking.ids)
        columns["logit"] = scores.lookup(ranking.ids[:, : cell.num_rerank])
    written = []
    for form in forms:
        path, more = folder / WRITTEN[form].format(end), columns if form == "pairs" else {}
        turned = in_form(lists, form, *names)
        written.append(write_candidates(path, form, turned, tag=tag, columns=more))
    return written
