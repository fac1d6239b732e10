"""TREC qrels, lines of `query iteration image relevance`, as a table of pairs.

1 and more is right. Where a relevance is above 1 or below 0, pairs have grades: `easy` from 2 on,
`hard` for 1, `junk` below 0; the setting `medium` counts all that is right. Names may lack folder
and suffix, and have blanks as in URLs (`%20`).
"""

from pathlib import Path

from ames_lite.datasets.tables import Table
from ames_lite.errors import existing_file, require
from ames_lite.stores.candidates.trec import read_trec

GRADE = {-1: "junk", 0: "wrong", 1: "hard", 2: "easy"}


def read_qrels(path: Path) -> Table:
    """The pairs, of kind "qrels". Raises MissingFile; ConfigError; BadInput with the line."""
    expected = "TREC qrels: query, iteration, image and relevance between blanks"
    found = list(read_trec(existing_file(path, "missing: the qrels", expected=expected), "qrels"))
    require(found, "an empty file", where=path, expected=expected)
    values = [min(max(int(one.score or 0), -1), 2) for one in found]
    graded = not {*values} <= {0, 1}
    columns = {
        "query": [one.query for one in found],
        "gallery": [str(one.name) for one in found],
        "grade" if graded else "relevant": [GRADE[v] if graded else str(v) for v in values],
    }
    return Table(path, "qrels", columns, [one.line for one in found])
