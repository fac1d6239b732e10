"""One evaluation: `score` writes the logits of all pairs that the protocol's passes need, `report`
sweeps num_rerank, lamb and temp over them and makes the results (schema 1), `write_exports` writes
its rankings in the forms of `stores.candidates`. A graded protocol (ROxford, RParis) has a ranking
a setting, named in the file (`run_medium.trec`), with its junk at the end.
"""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from ames_lite import __version__
from ames_lite.errors import require
from ames_lite.evaluation.data import SIDES, EvaluationData, ListData, list_digests, short_lists
from ames_lite.evaluation.pair_view import PairViews
from ames_lite.evaluation.passes import Cell, Pairs, pairs_to_score, rerank_setting
from ames_lite.evaluation.protocols import Evaluation, Protocol
from ames_lite.evaluation.results_file import NO_MODEL, SCHEMA, WITHOUT_DESCRIPTORS
from ames_lite.evaluation.tuning import Row
from ames_lite.io.digest import array_digest
from ames_lite.io.writing import refuse_existing
from ames_lite.processes import ALONE, Processes
from ames_lite.records import NO_EVIDENCE, PairScores, pair_keys
from ames_lite.reranking.scorer import Cost, PairScorer, ScoringOptions
from ames_lite.runtime import cpu_name, peak_memory_mib
from ames_lite.stores.candidates import WRITTEN, Candidates, in_form, write_candidates
from ames_lite.stores.descriptor_store import DescriptorStore
from ames_lite.stores.neighbor_lists import read_provenance
from ames_lite.stores.pair_scores import PartialScores, read_pair_scores, write_pair_scores

Json = Mapping[str, Any]


@dataclass(frozen=True, eq=False)
class Work:
    """What is scored, by what, and how."""

    data: EvaluationData
    scorer: PairScorer
    num_rerank: int
    options: ScoringOptions

    @property
    def pairs(self) -> Pairs:
        """The pairs that the protocol's passes need."""
        return pairs_to_score(self.data, self.num_rerank)

    def views(self) -> PairViews:
        """Of the pairs, as they are scored."""
        counts = self.options.query_count, self.options.gallery_count
        pairs = zip(self.data.stores, counts, strict=True)
        query, gallery = (partial(store.read, max_count=count) for store, count in pairs)
        return PairViews(self.scorer.model, query, gallery)

    @cached_property
    def digests(self) -> dict[str, str]:
        """What the logits depend on."""
        data, options = self.data, self.options
        settings = [options.query_count, options.gallery_count, options.precision]
        found = list_digests(data.ground_truth.query_names, data.ground_truth.gallery_names)
        for side, store in zip(SIDES, data.stores, strict=True):
            found[f"{side}_store"] = json.dumps(store.provenance, sort_keys=True)
            found[f"{side}_rows"] = store.fingerprint()
        return {
            **found,
            "model": self.scorer.name,
            "weights": self.scorer.digest,
            "settings": json.dumps(settings, sort_keys=True),
        }


def score(
    work: Work, output: Path, processes: Processes = ALONE, *, goes_on: str | None = None
) -> tuple[PairScores, Cost]:
    """Logits of all pairs that the protocol's passes need, written to `output` (scores.hdf5). What
    is finished is kept beside it until then, for the same run to go on after an interrupt; goes_on:
    how a user does that, None: as an evaluation is resumed. The first process writes.
    """
    refuse_existing(output, overwrite=False)
    pairs, known = work.pairs, work.digests
    of_pairs = {"pairs": array_digest(np.stack(pairs))}
    kept = PartialScores(output, known | of_pairs, processes.rank, processes.size, goes_on)
    scores, cost = work.scorer.score(
        *work.data.stores, *pairs, work.options, kept=kept, processes=processes
    )
    if processes.first:
        made = {
            "num_rerank": work.num_rerank,
            "pairs": cost.pairs,
            "seconds_scoring": cost.seconds_scoring,
            "pairs_per_second": cost.pairs_per_second if cost.pairs else None,
            "timed_on": _timed_on(work.options, processes),
        }
        write_pair_scores(output, scores, known, made)
        kept.remove()
    return scores, cost


def _timed_on(options: ScoringOptions, processes: Processes) -> str:
    """CPU and threads or GPU, precision, processes, in words."""
    device = torch.device(options.device)
    if device.type == "cuda":
        where = torch.cuda.get_device_name(device)
    else:
        where = f"{cpu_name()}, {options.threads or torch.get_num_threads()} threads"
    several = f", {processes.size} processes" if processes.size > 1 else ""
    compiled = ", compiled" if options.compile else ""
    return f"{where}, {options.precision}{compiled}{several}"


def reuse(work: Work, path: Path) -> tuple[PairScores, Cost]:
    """An earlier run's logits. BadInput where what they follow from changed, or one is missing."""
    scores, pairs = read_pair_scores(path, work.digests), work.pairs
    lacking = lacking_pairs(scores, pairs)
    what = f"{lacking} of the {len(pairs[0])} pairs that are needed have no score"
    expected = "scores of the same neighbour lists, up to this num_rerank"
    require(not lacking, what, expected, where=path, remedy="score anew: leave scores= away")
    return scores, Cost()


def lacking_pairs(scores: PairScores, pairs: Pairs) -> int:
    """How many of the pairs have no score."""
    return int((~np.isin(pair_keys(*pairs), pair_keys(scores.query, scores.gallery))).sum())


def report(
    work: Work,
    scores: PairScores,
    cost: Cost,
    rows: Sequence[Row],
    *,
    tuned_on: str | None,
    role: str,
    config: dict[str, Any],
) -> dict[str, Any]:
    """The results dict: the global ranking, the rows of a grid, the first row per query."""
    data, options = work.data, work.options
    counts = {"query_desc_num": options.query_count, "gallery_desc_num": options.gallery_count}
    about = {**counts, "tuned_on": tuned_on, "role": role}
    return {
        **_results(data, data.evaluate(), work.scorer.name, rows, about, config),
        WITHOUT_DESCRIPTORS: _without_descriptors(*data.stores, scores),
        "cost": {
            **asdict(cost),
            "pairs_per_second": cost.pairs_per_second,
            "bytes_over_unique": cost.bytes_over_unique,
            "peak_memory_mib": _number(peak_memory_mib()),
        },
        "digests": work.digests,
    }


def report_global(data: ListData, config: dict[str, Any]) -> dict[str, Any]:
    """The results of a ranking that nothing reranks: one row with num_rerank 0 and λ 1."""
    names, before = data.ground_truth, data.evaluate()
    lists = data.files.neighbors(config["neighbors"])
    rows = [Row(0, 1.0, 1.0, before.metrics, before.main_ap)]
    return {
        **_results(data, before, NO_MODEL, rows, {"tuned_on": None, "role": "given"}, config),
        "counts": {"query": len(names.query_names), "gallery": len(names.gallery_names)},
        "digests": {
            **list_digests(names.query_names, names.gallery_names),
            "neighbors_made": json.dumps(read_provenance(lists), sort_keys=True),
        },
    }


def _results(
    data: ListData, before: Evaluation, model: str, rows: Sequence[Row], about: Json, config: Json
) -> dict[str, Any]:
    """What all results have; about: what every row says beside its cell and its metrics."""
    cells = ("num_rerank", "lamb", "temp")
    per_query = zip(data.ground_truth.query_names, before.main_ap, rows[0].main_ap, strict=True)
    return {
        "schema": SCHEMA,
        "dataset": data.files.name,
        "desc_name": data.files.desc_name,
        "config": config,
        "counted": data.protocol.counted,
        "global": plain_metrics(before.metrics),
        "model": model,
        "short_lists": short_lists(data),
        "rows": [
            {**{k: getattr(row, k) for k in cells}, **about, "metrics": plain_metrics(row.metrics)}
            for row in rows
        ],
        "per_query": [
            {"name": name, "global_ap": _number(first), "ap": _number(second)}
            for name, first, second in per_query
        ],
        "versions": {"ames_lite": __version__, "torch": torch.__version__, "numpy": np.__version__},
        "read": data.read,
    }


def _without_descriptors(
    query_store: DescriptorStore, gallery_store: DescriptorStore, scores: PairScores
) -> dict[str, dict[str, Any]]:
    """By side, the number of images and the names of those without descriptors. A native store has
    them in its header; of a published one, which would have to be read as a whole, those that were
    scored are listed.
    """
    blank = scores.logit <= NO_EVIDENCE
    queries = _empty_rows(query_store, scores.query, blank)
    other = ~np.isin(scores.query, queries)  # a pair with an empty query says nothing of its image
    gallery = _empty_rows(gallery_store, scores.gallery[other], blank[other])
    sides = {"query": (query_store, queries), "gallery": (gallery_store, gallery)}
    return {
        side: {"of": len(store), "names": [store.names[row] for row in rows]}
        for side, (store, rows) in sides.items()
    }


def _empty_rows(
    store: DescriptorStore, rows: npt.NDArray[np.int32], blank: npt.NDArray[np.bool_]
) -> npt.NDArray[np.integer]:
    if store.published:
        return np.setdiff1d(rows[blank], rows[~blank])
    return store.empty_rows()


def _number(value: float) -> float | None:
    return None if math.isnan(value) else float(value)


def plain_metrics(values: dict[str, float]) -> dict[str, float | None]:
    """Metrics as JSON has them: None where one is undefined."""
    return {key: _number(value) for key, value in values.items()}


def check_exports(
    forms: Sequence[str], protocol: Protocol, setting: str | None = None, top: int | None = None
) -> str:
    """The setting whose ranking is written, by default medium, or all where ungraded. BadInput."""
    fine = set(forms) <= set(WRITTEN) and len(set(forms)) == len(forms)
    require(fine, f"exports {list(forms)}", f"some of {', '.join(WRITTEN)}, each once")
    require(top is None or top >= 1, f"the first {top} images are to be exported", "1 or more")
    if setting is None:
        return protocol.main_settings[0]
    what = f"the protocol has no setting '{setting}'"
    require(setting in protocol.settings, what, " or ".join(protocol.settings))
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
