"""Rankings as files that other programs read: TREC run, JSON, CSV, and the pairs behind them.

Input: names and a `Ranking`; output: one file, which appears whole.

- A TREC run is sorted by score by whoever reads it, so its scores fall strictly: where the
  ranking's own tie, or rise behind the reranked part, they are lowered by the least step that
  float32 keeps. Everywhere else they are the ranking's.
- Blanks separate fields there, so blanks and control characters in names are written as in URLs
  (`%20`), and `%` as `%25`. All other names stay as they are.
- Ranks count from 1, in the TREC run and in the CSV.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from pathlib import Path
from typing import TextIO

import numpy as np
import numpy.typing as npt

from ames_lite.errors import BadInput
from ames_lite.io.writing import replacing
from ames_lite.records import Ranking

Floats = npt.NDArray[np.float32]
LEAST_STEP = np.float32(2.0**-24)  # half a unit in the last place of 1
ODD_NAMES = "surrogatepass"  # a path that is not UTF-8 on disk reaches Python as surrogates


def first_of(ranking: Ranking, top: int | None) -> Ranking:
    """The first `top` images of every query; None: all. Raises BadInput for top < 1."""
    if top is None:
        return ranking
    if top < 1:
        raise BadInput(f"the first {top} images of a ranking", expected="at least 1")
    return Ranking(ranking.ids[:, :top], ranking.scores[:, :top], ranking.num_gallery)


def write_trec_run(
    path: str | Path,
    query_names: Sequence[str],
    gallery_names: Sequence[str],
    ranking: Ranking,
    *,
    tag: str,
    overwrite: bool = False,
) -> Path:
    """Write a TREC run, one line a ranked image; returns the path.

    tag: the last field of every line, the name of the run. Raises BadInput where names and ranking
    do not fit, and for an existing file unless overwrite.
    """
    _check_names(query_names, gallery_names, ranking)
    scores, images = falling_scores(ranking.scores), [_escaped(name) for name in gallery_names]
    with replacing(path, overwrite) as partial, _new_text(partial) as file:
        for q, name in enumerate(query_names):
            query, row = _escaped(name), zip(ranking.ids[q].tolist(), scores[q], strict=True)
            file.writelines(
                f"{query} Q0 {images[image]} {rank} {score:.9g} {_escaped(tag)}\n"
                for rank, (image, score) in enumerate(row, start=1)
            )
    return Path(path)


def falling_scores(scores: Floats) -> Floats:
    """Scores [Q, K] that fall strictly along each row: the given ones, lowered where they do not.

    >>> falling_scores(np.array([[0.5, 0.5, 0.75, 0.25]], np.float32)).astype(float).round(9)
    array([[0.5       , 0.49999994, 0.49999988, 0.25      ]])
    """
    falling = scores.astype(np.float32)  # a copy
    for k in range(1, falling.shape[1]):
        before = falling[:, k - 1]
        step = np.maximum(np.spacing(np.abs(before)), LEAST_STEP)
        falling[:, k] = np.minimum(falling[:, k], before - step)
    return falling


def write_ranking_json(
    path: str | Path,
    query_names: Sequence[str],
    gallery_names: Sequence[str],
    ranking: Ranking,
    *,
    with_scores: bool = False,
    overwrite: bool = False,
) -> Path:
    """Write {query: [images, best first]}, one query a line; with_scores: [[image, score], ...].

    Errors as `write_trec_run`.
    """
    _check_names(query_names, gallery_names, ranking)
    with replacing(path, overwrite) as partial, _new_text(partial) as file:
        for q, query in enumerate(query_names):
            names = [gallery_names[image] for image in ranking.ids[q].tolist()]
            pairs = zip(names, map(_short, ranking.scores[q]), strict=True)
            entry = [[name, float(score)] for name, score in pairs] if with_scores else names
            file.write("{\n" if q == 0 else ",\n")
            file.write(f"{json.dumps(query)}: {json.dumps(entry)}")
        file.write("\n}\n" if query_names else "{}\n")
    return Path(path)


def write_ranking_csv(
    path: str | Path,
    query_names: Sequence[str],
    gallery_names: Sequence[str],
    ranking: Ranking,
    *,
    overwrite: bool = False,
) -> Path:
    """Write the columns query, rank, gallery, score. Errors as `write_trec_run`."""
    _check_names(query_names, gallery_names, ranking)
    with replacing(path, overwrite) as partial, _new_text(partial) as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(("query", "rank", "gallery", "score"))
        for q, query in enumerate(query_names):
            row = zip(ranking.ids[q].tolist(), map(_short, ranking.scores[q]), strict=True)
            writer.writerows(
                (query, rank, gallery_names[image], score)
                for rank, (image, score) in enumerate(row, start=1)
            )
    return Path(path)


def write_pairs(
    path: str | Path,
    query_names: Sequence[str],
    gallery_names: Sequence[str],
    ranking: Ranking,
    sims: Floats,
    logits: Floats,
    *,
    overwrite: bool = False,
) -> Path:
    """Write the columns query, gallery, sim, logit, score of every ranked pair, best first.

    sims [Q, K] and logits [Q, n], n <= K, of the images as the ranking has them; the logit of a
    pair that was not reranked stays empty. Errors as `write_trec_run`.
    """
    _check_names(query_names, gallery_names, ranking)
    if sims.shape != ranking.ids.shape or logits.shape[1] > sims.shape[1]:
        raise BadInput(f"sims {sims.shape}, logits {logits.shape}, ids {ranking.ids.shape}")
    behind = [""] * (sims.shape[1] - logits.shape[1])
    with replacing(path, overwrite) as partial, _new_text(partial) as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(("query", "gallery", "sim", "logit", "score"))
        for q, query in enumerate(query_names):
            names = (gallery_names[image] for image in ranking.ids[q].tolist())
            logit = [*map(_short, logits[q]), *behind]
            columns = (names, map(_short, sims[q]), logit, map(_short, ranking.scores[q]))
            row = zip(*columns, strict=True)
            writer.writerows((query, *values) for values in row)
    return Path(path)


def _new_text(path: Path) -> TextIO:
    return path.open("w", encoding="utf-8", errors=ODD_NAMES, newline="")


def _short(value: np.float32) -> str:
    """The fewest digits that give this float32 back."""
    return np.format_float_positional(value, unique=True, trim="0")


def _check_names(
    query_names: Sequence[str], gallery_names: Sequence[str], ranking: Ranking
) -> None:
    came, wanted = (len(query_names), len(gallery_names)), (len(ranking.ids), ranking.num_gallery)
    if came != wanted:
        raise BadInput(
            f"{came[0]} query and {came[1]} gallery names, ranked: {wanted[0]} and {wanted[1]}",
            expected="the name lists that the ranking counts in",
        )


def _escaped(name: str) -> str:
    """A name without blanks, control characters and bare `%`: those as in URLs."""
    return "".join(
        char if char.isprintable() and not char.isspace() and char != "%" else _hex(char)
        for char in name
    )


def _hex(char: str) -> str:
    return "".join(f"%{byte:02X}" for byte in char.encode("utf-8", ODD_NAMES))
