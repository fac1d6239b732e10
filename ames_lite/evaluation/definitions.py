"""What a metric's name means, in one line. mAP is by trapezoids, mAP@k by rectangles."""

import re
from collections.abc import Iterable

from ames_lite.errors import BadInput
from ames_lite.evaluation.protocols import PROTOCOLS, SETTINGS

BASES = {  # by what stands before @k or _part; {k}: the rank after @
    "map": "mean over queries of the area under precision over recall by trapezoids, whole ranking "
    "(trapezoidal AP)",
    "map@": "mean over queries of the sum of the precisions at the positives among the first {k} "
    "ranks, over min({k}, positives) (rectangular AP)",
    "mp@": "mean over queries of the precision among the first min({k}, rank of the last positive) "
    "ranks, as in revisitop",
    "recall@": "share of the queries with any positive among the first {k} ranks",
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

    >>> definition("recall@5")
    'share of the queries with any positive among the first 5 ranks'

    Raises BadInput for a name that no metric has.
    """
    if metric_name == "map" and graded:
        return GRADED_MAP
    found = re.fullmatch(r"([a-z]+)(?:@([1-9][0-9]*))?(?:_(\w+))?", metric_name)
    base, k, part = found.groups() if found else ("", None, None)
    base += "@" if k else ""
    if base not in BASES or part not in (None, *PARTS):
        names = ", ".join(f"{name}<k>" if name.endswith("@") else name for name in BASES)
        expected = f"{names}; after it nothing or one of {', '.join('_' + p for p in PARTS)}"
        raise BadInput(f"no metric '{metric_name}' is defined", expected=expected)
    text = BASES[base].format(k=k)
    return f"{text}; {PARTS[part]}" if part else text


def footnotes(metric_names: Iterable[str], counted: str | None = None) -> list[str]:
    """A line for each name, and one on the queries that the means are over.

    counted: that line (`Protocol.counted`); None: as most protocols have it.
    """
    names = list(dict.fromkeys(metric_names))
    graded = any(name.startswith("map_") for name in names)
    lines = [f"{name}: {definition(name, graded=graded)}" for name in names]
    return [*lines, counted or PROTOCOLS["revisitop"].counted]
