"""Protocols: which lists count as right and which as junk, and which metrics follow; in words, what
a metric is. mAP is by trapezoids, mAP@k by rectangles. A graded protocol (ROxford, RParis) has
three settings, easy, medium and hard; one without grades has the setting "all". Metrics are
fractions in [0, 1]. Axis letters: Q queries, K ranked images.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from ames_lite.errors import BadInput, chosen, require
from ames_lite.evaluation import metrics
from ames_lite.evaluation.metrics import Floats, Hits, Ids
from ames_lite.records import GroundTruth, Neighbors


class Setting(NamedTuple):
    """Which lists of the ground truth are right, and which are junk."""

    positives: tuple[str, ...]
    junk: tuple[str, ...]


SETTINGS: Mapping[str, Setting] = {
    "easy": Setting(positives=("easy",), junk=("junk", "hard")),
    "medium": Setting(positives=("easy", "hard"), junk=("junk",)),
    "hard": Setting(positives=("hard",), junk=("junk", "easy")),
    "all": Setting(positives=("easy",), junk=("junk",)),  # ungraded: positives are in `easy`
}


@dataclass(frozen=True)
class Protocol:
    """The settings of an evaluation and the metrics of each."""

    main: str  # the metric that grids and tuning go by
    settings: tuple[str, ...] = ("all",)  # of SETTINGS, one rerank pass each
    main_settings: tuple[str, ...] = ("all",)  # the AP reported per query is their mean
    ap_at: int | None = None  # rectangular AP@k; None: trapezoidal over the whole ranking
    precision_at: tuple[int, ...] = ()
    recall_at: tuple[int, ...] = ()
    private: int = 0  # the last so many queries are the private part, reported beside the public
    ap_also: tuple[int, ...] = ()  # further k of rectangular AP@k
    misses: bool = False  # recall is over all queries: one without a positive is a miss
    ap_divisor: str = "official"  # of metrics.DIVISORS, for trapezoidal AP
    ks: tuple[int, ...] = ()  # map@k, precision@k, recall@k and accuracy@k of each, beside the rest

    @property
    def graded(self) -> bool:
        """Whether the ground truth must tell easy from hard."""
        return self.settings != ("all",)

    @property
    def depth(self) -> int:
        """How long a ranking must be (or as long as the gallery) for its metrics to hold."""
        return max((self.ap_at or 1, *self.ap_also, *self.precision_at, *self.recall_at, *self.ks))

    @property
    def counted(self) -> str:
        """Which queries a mean is over, for those who read the numbers."""
        if self.misses:
            return (
                "recall@k: share of all queries with any positive among the first k; one without a "
                "positive is a miss"
            )
        counted = "means over the queries that have a positive; ranks count no junk"
        if self.divides_by_listed:
            counted += "; AP is over min(positives, images listed), as AMES is published"
        return counted

    @property
    def divides_by_listed(self) -> bool:
        """Whether AP counts no more positives than a ranking lists images."""
        return self.ap_at is None and self.ap_divisor == "published"


# place recognition reports recall; the AP is there for tests that compare per query
_VPR = Protocol(main="recall@1", ap_at=20, recall_at=(1, 5, 10, 20))
PROTOCOLS: Mapping[str, Protocol] = {
    "revisitop": Protocol(
        "map", ("easy", "medium", "hard"), main_settings=("medium", "hard"), precision_at=(1, 5, 10)
    ),
    "gldv2": Protocol(main="map@100", ap_at=100),
    "instance": Protocol(main="map@100", ap_at=100, recall_at=(1, 10, 100)),
    # vpr leaves queries without positives out, vpr_all counts them as missed (AnyLoc and the
    # common folder format of place recognition)
    "vpr": _VPR,
    "vpr_all": replace(_VPR, misses=True),
    "category": Protocol(main="map@100", ap_at=100, ap_also=(5,), recall_at=(1, 5)),
    "ilias": Protocol(main="map@1000", ap_at=1000),
}


@dataclass(frozen=True, eq=False)
class Evaluation:
    """What a protocol says of a ranking."""

    metrics: dict[str, float]  # fractions in [0, 1], nan where no query counts
    ap: dict[str, Floats]  # by setting, average precision per query [Q], nan without positives
    main_ap: Floats  # [Q] its mean over the main settings
    hits: Mapping[str, Hits]  # where the positives stand, by setting


def get_protocol(protocol: str | Protocol) -> Protocol:
    """The protocol of that name. Raises BadInput for an unknown one."""
    if isinstance(protocol, Protocol):
        return protocol
    return chosen(protocol, PROTOCOLS, "protocol", BadInput)


def evaluate_ranking(
    ranking: Ids | Neighbors, ground_truth: GroundTruth, protocol: str | Protocol
) -> Evaluation:
    """Metrics of one ranking [Q, K], the same for every setting. Raises BadInput as `check_fit`."""
    protocol = get_protocol(protocol)
    if not isinstance(ranking, Neighbors):
        ids: npt.NDArray[Any] = np.asarray(ranking)
        no_scores = np.broadcast_to(np.float32(0), ids.shape)
        ranking = Neighbors(ids, no_scores, len(ground_truth.gallery_names))
    check_fit(ranking, ground_truth, protocol)
    hits = {s: setting_hits(ranking.ids, ground_truth, s) for s in protocol.settings}
    return summarize(hits, protocol)


@dataclass(frozen=True, eq=False)
class Retrieval:
    """Neighbour lists and what they are judged by. Raises BadInput as `check_fit`."""

    protocol: Protocol
    ground_truth: GroundTruth
    neighbors: Neighbors

    def __post_init__(self) -> None:
        check_fit(self.neighbors, self.ground_truth, self.protocol)

    def evaluate(self) -> Evaluation:
        """Metrics of the lists themselves, without reranking."""
        return evaluate_ranking(self.neighbors, self.ground_truth, self.protocol)


def summarize(hits: Mapping[str, Hits], protocol: Protocol) -> Evaluation:
    """The metrics of a protocol from the hits of each of its settings."""
    values: dict[str, float] = {}
    ap: dict[str, Floats] = {}
    for setting in protocol.settings:
        name, found = (f"_{setting}" if protocol.graded else ""), hits[setting]
        if protocol.ap_at is None:
            ap[setting] = metrics.average_precision(found, protocol.ap_divisor)
            values[f"map{name}"] = metrics.mean(ap[setting])
        else:
            ap[setting] = metrics.average_precision_at(found, protocol.ap_at)
            values |= _parts(ap[setting], f"map@{protocol.ap_at}{name}", protocol.private)
        for k in dict.fromkeys((*protocol.ap_also, *protocol.ks)):
            values[f"map@{k}{name}"] = metrics.mean(metrics.average_precision_at(found, k))
        for k in protocol.precision_at:
            values[f"mp@{k}{name}"] = metrics.mean(metrics.revisited_precision_at(found, k))
        for k in protocol.ks:
            values[f"precision@{k}{name}"] = metrics.mean(metrics.precision_at(found, k))
        for k in dict.fromkeys((*protocol.recall_at, *protocol.ks)):
            recall = metrics.hit_at(found, k)
            right = np.nan_to_num(recall, nan=0.0)
            values[f"recall@{k}{name}"] = metrics.mean(right if protocol.misses else recall)
            if k in protocol.ks:
                values[f"accuracy@{k}{name}"] = metrics.mean(right)
    if protocol.graded:
        means = [metrics.mean(ap[setting]) for setting in protocol.main_settings]
        values["map"] = float(np.mean(means))
    main_ap: Floats = np.mean([ap[setting] for setting in protocol.main_settings], axis=0)
    return Evaluation(values, ap, main_ap, hits)


def _parts(ap: Floats, name: str, private: int) -> dict[str, float]:
    """The mean, and those of the public and the private queries where there are both."""
    parts = {"": ap}
    if private:
        parts |= {"_public": ap[:-private], "_private": ap[-private:]}
    return {f"{name}{part}": metrics.mean(values) for part, values in parts.items()}


def _joined(ground_truth: GroundTruth, setting: str, what: str) -> list[npt.NDArray[np.int64]]:
    """The gallery rows of a list of `Setting`, by query."""
    names = getattr(chosen(setting, SETTINGS, "setting", BadInput), what)
    lists = [getattr(ground_truth, name) for name in names]
    return [np.concatenate([np.zeros(0, np.int64), *rows]) for rows in zip(*lists, strict=True)]


setting_positives = partial(_joined, what="positives")
setting_junk = partial(_joined, what="junk")


def setting_hits(ids: Ids, ground_truth: GroundTruth, setting: str) -> Hits:
    """Where the positives of a setting stand in a ranking [Q, K], its junk taken out."""
    right, junk = setting_positives(ground_truth, setting), setting_junk(ground_truth, setting)
    return metrics.find_hits(ids, right, junk)


def check_fit(ranking: Neighbors, ground_truth: GroundTruth, protocol: Protocol) -> None:
    """Raises BadInput for a ranking that does not fit ground truth or grades, or is too short."""
    queries, gallery = len(ground_truth.query_names), len(ground_truth.gallery_names)
    count, length = ranking.ids.shape
    truth = f"ground truth of {queries} queries over {gallery} images"
    what = f"a ranking of {count} queries over {ranking.num_gallery} images meets {truth}"
    fits = (count, ranking.num_gallery) == (queries, gallery)
    require(fits, what, "a ranking and ground truth of the same image lists")
    what = f"the last {protocol.private} of {queries} queries are said to be private"
    expected = f"a number below {queries}: private_queries= of the data set"
    require(0 <= protocol.private < queries, what, expected)
    inside = bool(set(ground_truth.query_names) & set(ground_truth.gallery_names))
    needed = min(protocol.depth, gallery - inside)  # a query is left out of its own list
    require(length >= needed, f"a ranking lists {length} images a query", f"at least {needed}")
    form = {True: "easy, hard and junk", False: "positives alone"}
    has, needs = form[ground_truth.graded], form[protocol.graded]
    require(has == needs, f"the ground truth has {has}, the protocol needs {needs}")


BASES = {  # by what stands before @k or _part; {k}: the rank after @
    "map": "mean over queries of the area under precision over recall by trapezoids, whole ranking "
    "(trapezoidal AP)",
    "map@": "mean over queries of the sum of the precisions at the positives among the first {k} "
    "ranks, over min({k}, positives) (rectangular AP)",
    "mp@": "mean over queries of the precision among the first min({k}, rank of the last positive) "
    "ranks, as in revisitop",
    "precision@": "mean over queries of the share of the first {k} ranks that are positives",
    "recall@": "share of the queries with any positive among the first {k} ranks",
    "accuracy@": "share of all queries with any positive among the first {k} ranks, one without a "
    "positive counted as wrong (top-{k} accuracy)",
}
PARTS = {  # what stands after _: a setting or a part of the queries
    **{
        name: f"right: {' and '.join(lists.positives)}; taken out: {', '.join(lists.junk)}"
        for name, lists in SETTINGS.items()
        if name != "all"
    },
    "public": "the public queries",
    "private": "the private queries",
}
GRADED_MAP = "(map_medium + map_hard) / 2, each by trapezoids from its own ranking"


def definition(metric_name: str, *, graded: bool = False) -> str:
    """What a metric is; graded: of a protocol with settings, where `map` is a mean of two.
    Raises BadInput for a name that no metric has.

    >>> definition("recall@5")
    'share of the queries with any positive among the first 5 ranks'
    """
    if metric_name == "map" and graded:
        return GRADED_MAP
    found = re.fullmatch(r"([a-z]+)(?:@([1-9][0-9]*))?(?:_(\w+))?", metric_name)
    base, k, part = found.groups() if found else ("", None, None)
    base += "@" if k else ""
    known = base in BASES and part in (None, *PARTS)
    names = ", ".join(f"{name}<k>" if name.endswith("@") else name for name in BASES)
    expected = f"{names}; after it nothing or one of {', '.join('_' + p for p in PARTS)}"
    require(known, f"no metric '{metric_name}' is defined", expected)
    text = BASES[base].format(k=k)
    return f"{text}; {PARTS[part]}" if part else text


def footnotes(metric_names: Iterable[str], counted: str | None = None) -> list[str]:
    """A line for each name, and `Protocol.counted` (None: as most protocols have it)."""
    names = list(dict.fromkeys(metric_names))
    graded = any(name.startswith("map_") for name in names)
    lines = [f"{name}: {definition(name, graded=graded)}" for name in names]
    return [*lines, counted or PROTOCOLS["revisitop"].counted]
