"""One evaluation: a data set's files and a pair scorer in, numbers that can be defended out.

`load` opens and checks all files before any work; `score` gives every pair that the protocol's
passes need one logit and writes them to `scores.hdf5`; `report` sweeps num_rerank, lamb and temp
over the logits and makes the results dict (schema 1). Every row is reported; nothing is picked
here.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from ames_lite import __version__
from ames_lite.datasets.ground_truth import read_ground_truth
from ames_lite.datasets.image_lists import read_image_list
from ames_lite.datasets.layout import DatasetFiles, find_all
from ames_lite.errors import BadInput
from ames_lite.evaluation.machine import timed_on
from ames_lite.evaluation.passes import evaluate_passes, pairs_to_score, prepare_passes
from ames_lite.evaluation.protocols import (
    Evaluation,
    Protocol,
    evaluate_ranking,
    get_protocol,
    setting_junk,
    setting_positives,
)
from ames_lite.evaluation.without_descriptors import KEY as WITHOUT_DESCRIPTORS
from ames_lite.evaluation.without_descriptors import find_without_descriptors
from ames_lite.io.digest import array_digest, names_digest
from ames_lite.io.provenance import SAME_STORES, compare_provenance
from ames_lite.io.writing import refuse_existing
from ames_lite.processes import ALONE, Processes
from ames_lite.records import GroundTruth, Neighbors, PairScores, pair_keys
from ames_lite.reranking.scorer import Cost, PairScorer, ScoringOptions
from ames_lite.runtime import peak_memory_mib
from ames_lite.stores.descriptor_store import DescriptorStore
from ames_lite.stores.neighbor_lists import is_pickle, read_neighbors
from ames_lite.stores.neighbor_rows import say_rising
from ames_lite.stores.pair_scores import read_pair_scores, write_pair_scores
from ames_lite.stores.partial_scores import PartialScores
from ames_lite.stores.published.neighbors import read_shortlist
from ames_lite.stores.published.store import open_store

Pairs = tuple[npt.NDArray[np.integer], npt.NDArray[np.integer]]  # rows of two stores [P]


@dataclass(frozen=True, eq=False)
class EvaluationData:
    """All that an evaluation reads, opened and checked."""

    files: DatasetFiles
    protocol: Protocol
    ground_truth: GroundTruth
    neighbors: Neighbors
    query_store: DescriptorStore
    gallery_store: DescriptorStore


def load(
    files: DatasetFiles,
    protocol: str | Protocol,
    neighbors: str,
    num_rerank: int,
    *,
    whole: bool = False,
) -> EvaluationData:
    """Open everything. Raises MissingFile that names all that is missing, or BadInput.

    whole: take lists of any size in full, not only as far as the protocol looks.
    """
    paths = find_files(files, neighbors)
    lists = {side: read_image_list(paths[side]) for side in ("query", "gallery")}
    queries, gallery = lists["query"].names, lists["gallery"].names
    # A query that is in the gallery is left out of its own list.
    longest = len(gallery) - bool(set(queries) & set(gallery))
    needed = min(max(num_rerank, get_protocol(protocol).depth), longest)
    shortlist = None
    if is_pickle(paths["neighbors"]):
        shortlist = read_shortlist(paths["neighbors"], queries, gallery)
    stores = [
        open_store(
            paths[f"{side} store"],
            images.names,
            images.sizes,
            files.make_local(),
            shortlist=shortlist if side == "gallery" else None,
        )
        for side, images in lists.items()
    ]
    truth = read_ground_truth(
        paths["ground truth"], queries, gallery, skip_last=files.skipped(paths["ground truth"])
    )
    data = EvaluationData(
        files,
        get_protocol(protocol),
        truth,
        _long_lists(
            paths["neighbors"],
            truth,
            needed,
            files.make_neighbors(neighbors, overwrite=True),
            most=None if whole else _looked_at(truth, get_protocol(protocol), needed),
        ),
        *stores,
    )
    for side, store in (("query", data.query_store), ("gallery", data.gallery_store)):
        _check_same_names(store, lists[side].names, paths[side], files.make_local(overwrite=True))
    compare_provenance(
        data.query_store.provenance,
        data.gallery_store.provenance,
        SAME_STORES,
        files=(data.query_store.path, data.gallery_store.path),
        anew=files.make_local(splits=["query"], overwrite=True),
    )
    if min(excluded(data).values()) == len(queries):
        raise BadInput(
            "no query has a positive",
            where=paths["ground truth"],
            expected=f"positives among the {len(gallery)} images of {paths['gallery']}",
        )
    return data


def excluded(data: EvaluationData) -> dict[str, int]:
    """Setting to the number of queries that have no positive there, and so count in no mean."""
    return {
        setting: sum(len(rows) == 0 for rows in setting_positives(data.ground_truth, setting))
        for setting in data.protocol.settings
    }


def short_lists(data: EvaluationData) -> dict[str, int]:
    """Setting to the number of queries with more positives than a list has images, if any.

    Only where this matters: AP@k is over min(k, positives), and lists are never shorter than k.
    """
    if data.protocol.ap_at is not None:
        return {}
    length = data.neighbors.ids.shape[1]
    found = {
        setting: sum(len(rows) > length for rows in setting_positives(data.ground_truth, setting))
        for setting in data.protocol.settings
    }
    return {setting: num for setting, num in found.items() if num}


def _check_same_names(
    store: DescriptorStore, names: Sequence[str], path: Path, remedy: str
) -> None:
    if store.names == names:
        return
    pairs = list(zip(store.names, names, strict=False))
    row = next((row for row, (a, b) in enumerate(pairs) if a != b), None)
    first = "" if row is None else f"; row {row} is '{pairs[row][0]}' there, '{pairs[row][1]}' here"
    raise BadInput(
        f"the store has {len(store)} names and the image list {len(names)}{first}",
        where=f"{store.path} against {path}",
        expected="a store extracted from this very list",
        remedy=remedy,
    )


def find_files(files: DatasetFiles, neighbors: str) -> dict[str, Path]:
    """The files of an evaluation by name. Raises MissingFile that names all that is missing."""
    return find_all(
        {
            "query": lambda: files.image_list("query"),
            "gallery": lambda: files.image_list("gallery"),
            "ground truth": files.ground_truth,
            "query store": lambda: files.local("query"),
            "gallery store": lambda: files.local("gallery"),
            "neighbors": lambda: files.neighbors(neighbors),
        }
    )


def _looked_at(truth: GroundTruth, protocol: Protocol, needed: int) -> int | None:
    """How far into a list anything can matter; None: to its end, as for trapezoidal AP.

    A place for every image that is junk in some setting: it goes to the end of the list.
    """
    if protocol.ap_at is None:
        return None
    junk = [setting_junk(truth, setting) for setting in protocol.settings]
    return needed + max(len(rows) for setting in junk for rows in setting)


def _long_lists(
    path: Path, truth: GroundTruth, needed: int, maker: str, most: int | None
) -> Neighbors:
    """The lists, at least `needed` long; of very large ones, the first `most` of each query."""
    neighbors = read_neighbors(
        path, truth.query_names, truth.gallery_names, most=most, remedy=maker
    )
    if neighbors.ids.shape[1] < needed:
        raise BadInput(
            f"the neighbour lists have {neighbors.ids.shape[1]} images a query, "
            f"{needed} are needed",
            where=path,
            expected="lists as long as num_rerank= and the protocol ask for (or less of it), "
            "or the whole gallery",
            remedy=f"{maker} num_neighbors={needed}",
        )
    say_rising(neighbors.rising, len(neighbors.ids), path)
    return neighbors


def score(
    data: EvaluationData,
    scorer: PairScorer,
    num_rerank: int,
    options: ScoringOptions,
    output: Path,
    processes: Processes = ALONE,
    *,
    goes_on: str | None = None,
) -> tuple[PairScores, Cost]:
    """Logits of all pairs that the protocol's passes need, written to `output` (scores.hdf5).

    While it lasts, what is finished is kept beside it, and is taken from there where an interrupted
    run of the very same left some. processes: who shares the pairs; the first one writes. goes_on:
    what a user does after an interrupt; None: as an evaluation is resumed.
    """
    refuse_existing(output, overwrite=False)
    pairs = pairs_to_score(data.neighbors, data.ground_truth, num_rerank, data.protocol)
    known = digests(data, scorer, options)
    of_pairs = {"pairs": array_digest(np.stack(pairs))}
    kept = PartialScores(output, known | of_pairs, processes.rank, processes.size, goes_on)
    stores = data.query_store, data.gallery_store
    scores, cost = scorer.score(*stores, *pairs, options, kept=kept, processes=processes)
    if processes.first:
        made = {
            "num_rerank": num_rerank,
            "pairs": cost.pairs,
            "seconds_scoring": cost.seconds_scoring,
            "pairs_per_second": cost.pairs_per_second if cost.pairs else None,
            "timed_on": timed_on(options, processes),
        }
        write_pair_scores(output, scores, known, made)
        kept.remove()
    return scores, cost


def reuse(
    data: EvaluationData,
    scorer: PairScorer,
    num_rerank: int,
    options: ScoringOptions,
    path: Path,
) -> tuple[PairScores, Cost]:
    """The logits of an earlier run, at no cost.

    Raises BadInput where anything that they depend on has changed, naming both values, and where
    a pair that the passes need is not among them.
    """
    scores = read_pair_scores(path, digests(data, scorer, options))
    pairs = pairs_to_score(data.neighbors, data.ground_truth, num_rerank, data.protocol)
    lacking = lacking_pairs(scores, pairs)
    if lacking:
        raise BadInput(
            f"{lacking} of the {len(pairs[0])} pairs that are needed have no score",
            where=path,
            expected="scores of the same neighbour lists, up to this num_rerank",
            remedy="score anew: leave scores= away",
        )
    return scores, Cost()


def lacking_pairs(scores: PairScores, pairs: Pairs) -> int:
    """How many of the pairs (query rows, gallery rows) [P] have no score."""
    there = pair_keys(scores.query, scores.gallery)
    return int((~np.isin(pair_keys(*pairs), there)).sum())


def digests(data: EvaluationData, scorer: PairScorer, options: ScoringOptions) -> dict[str, str]:
    """What the logits depend on."""
    return {
        "query_names": names_digest(data.ground_truth.query_names),
        "gallery_names": names_digest(data.ground_truth.gallery_names),
        "query_store": json.dumps(data.query_store.provenance, sort_keys=True),
        "query_rows": data.query_store.fingerprint(),
        "gallery_store": json.dumps(data.gallery_store.provenance, sort_keys=True),
        "gallery_rows": data.gallery_store.fingerprint(),
        "model": scorer.name,
        "weights": scorer.digest,
        "settings": json.dumps(
            [options.query_count, options.gallery_count, options.precision], sort_keys=True
        ),
    }


def report(
    data: EvaluationData,
    scorer: PairScorer,
    scores: PairScores,
    cost: Cost,
    options: ScoringOptions,
    *,
    num_reranks: Sequence[int],
    lambs: Sequence[float],
    temps: Sequence[float],
    tuned_on: str | None,
    role: str,
    config: dict[str, Any],
) -> dict[str, Any]:
    """The results dict: the global ranking, every row of the grid, the first row per query."""
    passes = prepare_passes(
        data.neighbors, data.ground_truth, scores, max(num_reranks), data.protocol
    )
    before = evaluate_ranking(data.neighbors, data.ground_truth, data.protocol)
    rows, first = [], None
    for num in num_reranks:
        for lamb in lambs:
            for temp in temps:
                found = evaluate_passes(passes, data.protocol, num_rerank=num, lamb=lamb, temp=temp)
                first = first or found
                rows.append(
                    {
                        "num_rerank": num,
                        "lamb": lamb,
                        "temp": temp,
                        "query_desc_num": options.query_count,
                        "gallery_desc_num": options.gallery_count,
                        "tuned_on": tuned_on,
                        "role": role,
                        "metrics": plain_metrics(found.metrics),
                    }
                )
    assert first is not None, "a grid has at least one row"
    return {
        "schema": 1,
        "dataset": data.files.name,
        "desc_name": data.files.desc_name,
        "model": scorer.name,
        "config": config,
        "counted": data.protocol.counted,
        "short_lists": short_lists(data),
        "global": plain_metrics(before.metrics),
        "rows": rows,
        WITHOUT_DESCRIPTORS: find_without_descriptors(data.query_store, data.gallery_store, scores),
        "per_query": _per_query(data.ground_truth, before, first),
        "cost": {
            "pairs": cost.pairs,
            "seconds_scoring": cost.seconds_scoring,
            "pairs_per_second": cost.pairs_per_second,
            "seconds_reading": cost.seconds_reading,
            "bytes_read": cost.bytes_read,
            "unique_bytes": cost.unique_bytes,
            "bytes_over_unique": cost.bytes_over_unique,
            "encoded_queries": cost.encoded_queries,
            "encoded_gallery": cost.encoded_gallery,
            "unique_images": cost.unique_images,
            "pairs_kept": cost.pairs_kept,
            "processes": cost.processes,
            "peak_memory_mib": _number(peak_memory_mib()),
        },
        "versions": {
            "ames_lite": __version__,
            "torch": torch.__version__,
            "numpy": np.__version__,
        },
        "digests": digests(data, scorer, options),
    }


def _number(value: float) -> float | None:
    return None if math.isnan(value) else float(value)


def plain_metrics(values: dict[str, float]) -> dict[str, float | None]:
    """Metrics as JSON has them: None where one is undefined."""
    return {key: _number(value) for key, value in values.items()}


def _per_query(
    truth: GroundTruth, before: Evaluation, after: Evaluation
) -> list[dict[str, str | float | None]]:
    pairs = zip(truth.query_names, before.main_ap, after.main_ap, strict=True)
    return [
        {"name": name, "global_ap": _number(first), "ap": _number(second)}
        for name, first, second in pairs
    ]


def write_results(path: Path, results: dict[str, Any]) -> Path:
    """Write results.json (no NaN in it) and return its path."""
    path.write_text(json.dumps(results, indent=1, allow_nan=False) + "\n", encoding="utf-8")
    return path
