"""TREC qrels, lines of `query iteration image relevance`, as a table of pairs.

1 and more is right. Where a relevance is above 1 or below 0, pairs have grades: `easy` from 2 on,
`hard` for 1, `junk` below 0; the setting `medium` counts all that is right. Names may lack folder
and suffix, and have blanks as in URLs (`%20`). Lines of images that are not there are left out.
"""

from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import numpy as np

from ames_lite.datasets.custom.images import ImageFolders
from ames_lite.datasets.relation import SIDES
from ames_lite.datasets.tables import Table
from ames_lite.errors import BadInput, check_config, existing_file, explained, require

EXPECTED = "TREC qrels: query, iteration, image and a whole relevance between blanks"
GRADE = {-1: "junk", 0: "wrong", 1: "hard", 2: "easy"}


def read_qrels(path: Path, images: ImageFolders) -> Table:
    """The pairs whose images are there. Raises MissingFile; ConfigError; BadInput with the line."""
    what, expected = "qrels need ir_measures, which is not installed", "the extra ames_lite[trec]"
    check_config(find_spec("ir_measures"), what, expected, remedy="pip install 'ames_lite[trec]'")
    existing_file(path, "the qrels are missing", expected=EXPECTED)
    lines, *columns, values = _judgements(path)
    table = Table(path, "pairs", dict(zip(SIDES, columns, strict=True)), lines)
    values = [min(max(value, -1), 2) for value in values]
    if {*values} <= {0, 1}:
        table.columns["relevant"] = list(map(str, values))
    else:
        table.columns["grade"] = [GRADE[value] for value in values]
    return _without_unknown(table, images)


def _judgements(path: Path) -> list[list[Any]]:
    """Lines, queries, images, relevances."""
    import ir_measures

    found: list[tuple[int, str, str, int]] = []
    with path.open(encoding="utf-8-sig", errors="surrogateescape") as file:
        for number, line in enumerate(file, 1):
            where = f"{path}, line {number}"
            with explained("no judgement ({})", ValueError, where=where, expected=EXPECTED):
                for one in ir_measures.read_trec_qrels(f"{line}\n"):
                    query, image = unquote(one.query_id), unquote(one.doc_id)
                    found.append((number, query, image, one.relevance))
    require(found, "an empty file", where=path, expected=EXPECTED)
    return [list(column) for column in zip(*found, strict=True)]


def _without_unknown(table: Table, images: ImageFolders) -> Table:
    def is_there(name: str, side: str) -> bool:
        try:
            return images.find(name, side) is not None
        except BadInput:  # said later, with its line
            return True

    there = {(n, side): is_there(n, side) for side in SIDES for n in {*table.columns[side]}}
    pairs = zip(*(table.columns[side] for side in SIDES), strict=True)
    known = [all(there[named] for named in zip(pair, SIDES, strict=True)) for pair in pairs]
    if all(known):
        return table
    first = min(name for (name, _), found in there.items() if not found)
    what = f"{known.count(False)} of {len(table)} judgements are of images that are not there"
    what += f" ({len(there) - sum(there.values())} names, first '{first}')"
    where = f"{table.path} against {images.folder(None)}"
    require(any(known), what, where=where, expected="names of the images, or their ids")
    return replace(table.of_rows(np.flatnonzero(known)), notes=(f"{what}: left out",))
