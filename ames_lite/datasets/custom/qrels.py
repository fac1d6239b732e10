"""TREC qrels, lines of `query iteration image relevance`, as a table of pairs.

1 and more is right. Where a relevance is above 1 or below 0, pairs have grades: `easy` from 2 on,
`hard` for 1, `junk` below 0; the setting `medium` counts all that is right. Names may lack folder
and suffix, and have blanks as in URLs (`%20`).
"""

from importlib.util import find_spec
from pathlib import Path
from urllib.parse import unquote

from ames_lite.datasets.tables import Table
from ames_lite.errors import check_config, existing_file, explained, require

EXPECTED = "TREC qrels: query, iteration, image and a whole relevance between blanks"
GRADE = {-1: "junk", 0: "wrong", 1: "hard", 2: "easy"}


def read_qrels(path: Path) -> Table:
    """The pairs, of kind "qrels". Raises MissingFile; ConfigError; BadInput with the line."""
    what, expected = "qrels need ir_measures, which is not installed", "the extra ames_lite[trec]"
    check_config(find_spec("ir_measures"), what, expected, remedy="pip install 'ames_lite[trec]'")
    import ir_measures

    existing_file(path, "the qrels are missing", expected=EXPECTED)
    lines, found = [], []
    with path.open(encoding="utf-8-sig", errors="surrogateescape") as file:
        for number, line in enumerate(file, 1):
            where = f"{path}, line {number}"
            with explained("no judgement ({})", ValueError, where=where, expected=EXPECTED):
                found += ir_measures.read_trec_qrels(f"{line}\n")
            lines += [number] * (len(found) - len(lines))
    require(found, "an empty file", where=path, expected=EXPECTED)
    values = [min(max(one.relevance, -1), 2) for one in found]
    graded = not {*values} <= {0, 1}
    columns = {
        "query": [unquote(one.query_id) for one in found],
        "gallery": [unquote(one.doc_id) for one in found],
        "grade" if graded else "relevant": [GRADE[v] if graded else str(v) for v in values],
    }
    return Table(path, "qrels", columns, lines)
