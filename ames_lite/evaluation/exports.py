"""Rankings as files that other programs read: TREC run, JSON, CSV, and the pairs behind them.

A graded protocol (ROxford, RParis) has one ranking for each setting, named in the file
(`run_medium.trec`), with its junk at the end: metrics follow only with that taken out.

Readers sort a TREC run by score, so its scores fall strictly: ties, and scores that rise behind the
reranked part, are lowered by the least step that float32 keeps. Blanks and control characters in
names are written as in URLs (`%20`), and `%` as `%25`. Ranks count from 1.
"""

import json
from collections.abc import Iterable, Sequence
from itertools import zip_longest
from pathlib import Path
from typing import Any, TextIO
from urllib.parse import quote

import numpy as np
import numpy.typing as npt

from ames_lite.errors import require
from ames_lite.evaluation.data import EvaluationData
from ames_lite.evaluation.passes import Cell, rerank_setting
from ames_lite.evaluation.protocols import Protocol
from ames_lite.io.writing import csv_writer, replacing
from ames_lite.records import Neighbors, PairScores

Floats = npt.NDArray[np.float32]
Lists = Iterable[tuple[str, list[str]]]  # queries, and the images found, best first
LEAST_STEP = np.float32(2.0**-24)  # half a unit in the last place of 1
ODD_NAMES = "surrogatepass"  # a path that is not UTF-8 on disk reaches Python as surrogates

FORMS = {  # file name; {} is the setting of a graded protocol
    "trec": "run{}.trec",
    "json": "retrieval_results{}.json",
    "json_scores": "retrieval_results{}_scores.json",
    "csv": "ranking{}.csv",
    "pairs": "pairs{}.csv",
}


def check_exports(
    forms: Sequence[str], protocol: Protocol, setting: str | None = None, top: int | None = None
) -> str:
    """The setting whose ranking is written, by default medium, or all where ungraded. BadInput."""
    fine = set(forms) <= set(FORMS) and len(set(forms)) == len(forms)
    require(fine, f"exports {list(forms)}", expected=f"some of {', '.join(FORMS)}, each once")
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
    data: EvaluationData,
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
    sims = logits = None
    if "pairs" in forms:
        query = np.repeat(np.arange(len(ranking.ids), dtype=np.int32), data.neighbors.ids.shape[1])
        given = query, data.neighbors.ids.ravel(), data.neighbors.sims.ravel()
        sims = PairScores(*given).lookup(ranking.ids)
        logits = scores.lookup(ranking.ids[:, : cell.num_rerank])
    more: dict[str, Any] = {"tag": tag, "sims": sims, "logits": logits}
    return [
        write_ranking(folder / FORMS[form].format(end), form, *names, ranking, **more)
        for form in forms
    ]


def write_ranking(
    path: str | Path,
    form: str,
    query_names: Sequence[str],
    gallery_names: Sequence[str],
    ranking: Neighbors,
    *,
    tag: str = "ames_lite",
    sims: Floats | None = None,
    logits: Floats | None = None,
) -> Path:
    """Write a ranking; returns the path.

    form: `trec`, one line an image, with the tag of the run; `json`, {query: [images, best first]};
    `json_scores`, with [image, score]; `csv`, query, rank, gallery, score; `pairs`, query, gallery,
    sim, logit, score, of sims [Q, K] and logits [Q, n], n <= K, of the images as ranked. An
    existing file is replaced.
    """
    lists = (
        (query, [gallery_names[image] for image in ids.tolist()])
        for query, ids in zip(query_names, ranking.ids, strict=True)
    )
    scores = ranking.sims
    how: dict[str, Any] = {"encoding": "utf-8", "errors": ODD_NAMES, "newline": ""}
    with replacing(path, overwrite=True) as partial, partial.open("w", **how) as file:
        if form == "trec":
            _write_trec(file, lists, falling_scores(scores), tag)
        elif form == "pairs" and sims is not None and logits is not None:
            _write_csv(file, lists, {"sim": sims, "logit": logits, "score": scores})
        elif form == "csv":
            _write_csv(file, lists, {"score": scores}, ranked=True)
        else:
            _write_json(file, lists, scores if form == "json_scores" else None)
    return Path(path)


def _write_trec(file: TextIO, lists: Lists, scores: Floats, tag: str) -> None:
    run = _escaped(tag)
    for (name, images), falling in zip(lists, scores, strict=True):
        query = _escaped(name)
        row = zip(map(_escaped, images), falling, strict=True)
        file.writelines(
            f"{query} Q0 {image} {rank} {score:.9g} {run}\n"
            for rank, (image, score) in enumerate(row, start=1)
        )


def falling_scores(scores: Floats) -> Floats:
    """Scores [Q, K] that fall strictly along each row: lowered where they do not."""
    falling = scores.astype(np.float32)  # a copy
    for k in range(1, falling.shape[1]):
        before = falling[:, k - 1]
        step = np.maximum(np.spacing(np.abs(before)), LEAST_STEP)
        falling[:, k] = np.minimum(falling[:, k], before - step)
    return falling


def _write_json(file: TextIO, lists: Lists, scores: Floats | None) -> None:
    before = "{\n"
    for q, (query, images) in enumerate(lists):
        entry: list[Any] = images
        if scores is not None:
            numbers = (float(_short(score)) for score in scores[q])
            entry = [list(pair) for pair in zip(images, numbers, strict=True)]
        file.write(f"{before}{json.dumps(query)}: {json.dumps(entry)}")
        before = ",\n"
    file.write("\n}\n" if before == ",\n" else "{}\n")


def _write_csv(
    file: TextIO, lists: Lists, numbers: dict[str, Floats], ranked: bool = False
) -> None:
    """numbers: [Q, n] by column, of the first n images of each list; ranked: with the rank."""
    writer = csv_writer(file)
    writer.writerow(("query", *["rank"] * ranked, "gallery", *numbers))
    for q, (query, images) in enumerate(lists):
        texts = [map(_short, values[q]) for values in numbers.values()]
        rows = zip_longest(images, *texts, fillvalue="")
        writer.writerows((query, *[rank] * ranked, *row) for rank, row in enumerate(rows, start=1))


def _short(value: np.float32) -> str:
    """The fewest digits that give this float32 back."""
    return np.format_float_positional(value, unique=True, trim="0")


def _escaped(name: str) -> str:
    plain = (char.isprintable() and not char.isspace() and char != "%" for char in name)
    pairs = zip(name, plain, strict=True)
    return "".join(char if kept else quote(char, errors=ODD_NAMES) for char, kept in pairs)
