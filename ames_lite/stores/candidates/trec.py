"""TREC runs, `query Q0 name rank score run` a line, and qrels; the owner of ir_measures.

Readers sort a run by score, so the scores written fall strictly: ties, and scores that rise behind
the reranked part, are lowered by the least step that float32 keeps. Blanks and control characters
in names are written as in URLs (`%20`), and `%` as `%25`. Ranks count from 1.
"""

from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import TextIO
from urllib.parse import quote, unquote

import numpy as np

from ames_lite.errors import ConfigError
from ames_lite.stores.candidates.texts import ODD_NAMES, Entry, Floats, Lines, Ranked

LEAST_STEP = np.float32(2.0**-24)  # half a unit in the last place of 1
BLOCK = 256  # lists whose scores are lowered together


FORMS = {  # of ir_measures: what a line has besides query and name, and how all of it is written
    "run": ("score", "a TREC run", "query Q0 name rank score run, between blanks"),
    "qrels": ("relevance", "TREC qrels", "query iteration name relevance, between blanks"),
}


def read_trec(path: Path, form: str = "run") -> Iterator[Entry]:
    """The lines of a run, or of qrels (score: the relevance)."""
    try:
        import ir_measures
    except ImportError as error:
        remedy = "pip install 'ames_lite[trec]'"
        raise ConfigError("ir_measures reads TREC files", remedy=remedy) from error
    (number, what, expected), lines = FORMS[form], Lines(path)
    found = getattr(ir_measures, f"read_trec_{form}")(lines)
    while True:
        try:
            one = next(found, None)
        except ValueError as error:
            raise lines.refuse(f"no line of {what} ({error})", expected) from error
        if one is None:
            return
        query, name = (unquote(text, errors=ODD_NAMES) for text in one[:2])
        yield Entry(query, name, getattr(one, number), lines.number)


def write_trec(file: TextIO, lists: Iterable[Ranked], tag: str) -> None:
    run, rest = escaped(tag), iter(lists)
    while block := list(islice(rest, BLOCK)):
        scores = np.zeros((len(block), max(len(one.names) for one in block)), np.float32)
        for row, one in zip(scores, block, strict=True):
            row[: len(one.names)] = [*one.numbers.values()][-1]
        for one, falling in zip(block, falling_scores(scores), strict=True):
            query, images = escaped(one.query), map(escaped, one.names)
            file.writelines(
                f"{query} Q0 {image} {rank} {score:.9g} {run}\n"
                for rank, (image, score) in enumerate(zip(images, falling, strict=False), start=1)
            )


def falling_scores(scores: Floats) -> Floats:
    """Scores [Q, K] that fall strictly along each row: lowered where they do not."""
    falling = scores.astype(np.float32)  # a copy
    for k in range(1, falling.shape[1]):
        before = falling[:, k - 1]
        step = np.maximum(np.spacing(np.abs(before)), LEAST_STEP)
        falling[:, k] = np.minimum(falling[:, k], before - step)
    return falling


def escaped(name: str) -> str:
    plain = (char.isprintable() and not char.isspace() and char != "%" for char in name)
    pairs = zip(name, plain, strict=True)
    return "".join(char if kept else quote(char, errors=ODD_NAMES) for char, kept in pairs)
