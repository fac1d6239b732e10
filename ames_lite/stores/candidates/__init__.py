"""Candidate lists and rankings in the forms of other programs, in and out.

    candidates = read_candidates("run.trec")  # or form="trec"
    near = candidates.neighbors(query_names, gallery_names)
    write_candidates("pairs.txt", "kapture", candidates)

`FORMS` names them all; docs/candidates.md shows a line of each.
"""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ames_lite.errors import BadInput, MissingFile, chosen, require
from ames_lite.io.writing import replacing
from ames_lite.records import LEAST_SORTED, SIM_KINDS
from ames_lite.stores.candidates import arrays, texts
from ames_lite.stores.candidates.record import PAD, Candidates
from ames_lite.stores.candidates.texts import ODD_NAMES, Entry, Floats, Lines, Ranked

__all__ = ["FORMS", "Candidates", "in_form", "read_candidates", "write_candidates"]
Names = Sequence[str]


class Form(NamedTuple):
    file: str  # name of what is written, {}: the setting of a graded protocol
    read: Callable[..., Any]  # entries of a path, or arrays
    write: Callable[..., None] | None = None  # lists into a text, or arrays
    odd: str = ""  # what a name must not have
    scored: bool = True  # scores are needed
    sorts: bool = False  # a list is in the order of its scores, not in that of the file
    rows: bool = False  # of rows both have arrays


_table, _csv = partial(partial, texts.write_json), partial(texts.write_csv, ranked=True)
_hloc, _kapture = partial(texts.write_pairs, scores=False), partial(texts.write_pairs, between=", ")
_json, _comma = texts.read_json, partial(texts.read_pairs, separator=",")
BLANK, COMMA = r"\s", r"[,\r\n]|^[\s#]|\s$"
FORMS = {
    "trec": Form("run{}.trec", texts.read_trec, texts.write_trec, sorts=True),
    "json": Form("retrieval_results{}.json", _json, _table(form="json"), scored=False),
    "json_scores": Form("retrieval_results{}_scores.json", _json, _table(form="json_scores")),
    "csv": Form("ranking{}.csv", texts.read_csv, _csv),
    "pairs": Form("pairs{}.csv", texts.read_csv, texts.write_csv),
    "run": Form("run{}.json", _json, _table(form="run"), sorts=True),
    "jsonl": Form("candidates{}.jsonl", texts.read_lines, texts.write_lines),
    "hloc": Form("pairs{}.txt", texts.read_pairs, _hloc, BLANK, scored=False),
    "hloc_scores": Form("predictions{}.txt", texts.read_pairs, texts.write_pairs, BLANK),
    "kapture": Form("pairsfile{}.txt", _comma, _kapture, COMMA),
    "vpr_preds": Form("", texts.read_predictions),
    "vpr_descriptors": Form("", arrays.read_descriptors, rows=True),
    "faiss": Form("neighbors{}.npz", arrays.read_faiss, arrays.write_faiss, rows=True),
    "npy": Form("predictions{}.npy", arrays.read_npy, arrays.write_npy, scored=False, rows=True),
    "pickle": Form("nn{}.pkl", arrays.read_published, arrays.write_published, rows=True),
}
WRITTEN = {name: form.file for name, form in FORMS.items() if form.write}
SUFFIXES = {".npz": "faiss", ".npy": "npy", ".pkl": "pickle", ".jsonl": "jsonl"}
SUFFIXES |= dict.fromkeys((".trec", ".run", ".res"), "trec")


def is_foreign(path: Path) -> bool:
    """Whether a path is not named as our own neighbour lists are."""
    return path.suffix in (*SUFFIXES, ".json", ".csv", ".txt")


def read_candidates(
    path: str | Path,
    form: str | None = None,  # of FORMS; None: guessed from suffix and content
    kind: str | None = None,  # of SIM_KINDS; None: similarities, refused where all they do is rise
    *,
    sims: str | Path | None = None,  # an .npy [Q, K] of them beside one of ids
) -> Candidates:
    """Read lists of candidates. Raises MissingFile, BadInput with the line or the place."""
    path = Path(path)
    require(path.exists(), "the candidates are missing", where=path.absolute(), kind=MissingFile)
    form = guess_form(path) if form is None else form
    one = chosen(form, FORMS, "form of candidates", BadInput)
    require(kind in (None, *SIM_KINDS), f"kind={kind}", expected=" or ".join(SIM_KINDS))
    found = one.read(path)
    if not one.rows:
        return _settled(_gathered(found, path, form), kind)
    if isinstance(found, np.ndarray):
        found = found, None if sims is None else arrays.read_npy(Path(sims))
    ids, given = found
    return _settled(Candidates.of_arrays(ids, given, str(path), form), kind)


def guess_form(path: Path) -> str:
    """Raises BadInput where neither suffix nor content says it."""
    if path.is_dir():
        whole = (path / arrays.DESCRIPTORS[0]).is_file()
        return "vpr_descriptors" if whole else "vpr_preds"
    if path.suffix in SUFFIXES:
        return SUFFIXES[path.suffix]
    if path.suffix == ".json":
        first = next((rows for rows in texts.read_table(path).values() if rows), [""])
        names = isinstance(first, list) and isinstance(first[0], str)
        return "run" if isinstance(first, dict) else "json" if names else "json_scores"
    first = next((line.strip() for line in Lines(path) if line.strip()), "")
    guesses = {
        "csv" if "rank" in first else "pairs": path.suffix == ".csv",
        "kapture": first.startswith("# kapture") or len(first.split(",")) == 3,
        "vpr_preds": first in texts.TITLES,
        "jsonl": first.startswith("{"),
    }
    by_blanks = {6: "trec", 3: "hloc_scores", 2: "hloc"}.get(len(first.split()))
    found = next((form for form, fits in guesses.items() if fits), by_blanks)
    what, expected = f"the form of '{first:.80}' is unknown", f"form= one of {', '.join(FORMS)}"
    require(found, what, where=path, expected=expected)
    return str(found)


def _gathered(entries: Iterable[Entry], path: Path, form: str) -> Candidates:
    lists = dict[str, list[Entry]]()
    for entry in entries:
        found = lists.setdefault(entry.query, [])
        if entry.name is not None:
            found.append(entry)
    require(lists, f"no candidates, read as {form}", where=path, expected="lists of some query")
    with_score = {one.score is not None for found in lists.values() for one in found}
    what = "some candidates have a score and some have none"
    require(len(with_score) < 2, what, where=path, expected="a score for all, or for none")
    parts: Any = [tuple([e[at] for e in one] for one in lists.values()) for at in (1, 2, 3)]
    sims = parts[1] if with_score == {True} else None
    return Candidates(tuple(lists), parts[0], sims, str(path), form, parts[2])


def _settled(read: Candidates, kind: str | None) -> Candidates:
    """Similarities, best first."""
    if read.sims is None:
        return read
    steps = np.concatenate([np.diff(row) for row in read.sims])
    rises = len(steps) >= LEAST_SORTED - 1 and (steps >= 0).all() and steps.any()
    what, expected = "the scores only rise along the lists, as distances do", "similarities"
    remedy = "kind=squared_l2 (faiss), kind=distance (1 - cosine), or kind=similarity if they may"
    remedy += "; an evaluation takes similarities alone, ames rerank any kind="
    believed = kind is not None or not rises or read.form == "run"  # of a table no order is meant
    require(believed, what, where=read.at(0), expected=expected, remedy=remedy)
    over = SIM_KINDS.get(kind or "")
    sims: list[Any] = [row if over is None else 1 - row / over for row in read.sims]
    if not FORMS[read.form].sorts:
        return replace(read, sims=tuple(sims))
    orders = [np.argsort(-row, kind="stable") for row in sims]
    return read.reordered(orders, [row[at] for row, at in zip(sims, orders, strict=True)])


def in_form(candidates: Candidates, form: str, queries: Names, gallery: Names) -> Candidates:
    """By names or by rows of these lists, as the form has it. Raises BadInput where it cannot."""
    if FORMS[form].rows != (candidates.queries is None):
        turn = candidates.numbered if FORMS[form].rows else candidates.named
        candidates = turn(queries, gallery)
    _check_names(form, candidates)
    return candidates


def _check_names(form: str, candidates: Candidates) -> None:
    if FORMS[form].odd:
        names = chain(candidates.queries or (), *candidates.found)
        bad = next((name for name in names if re.search(FORMS[form].odd, name)), None)
        what = f"the form {form} cannot hold the name {bad!r}"
        require(bad is None, what, expected="another form, such as jsonl, csv or trec")


def write_candidates(
    path: str | Path,
    form: str,
    candidates: Candidates,
    *,
    tag: str = "ames_lite",  # of TREC
    columns: Mapping[str, Sequence[Floats]] | None = None,  # more numbers of `pairs`
) -> Path:
    """Write or replace lists in a form of names or of rows, as they have; returns the path."""
    one, by_name = chosen(form, FORMS, "form of candidates", BadInput), candidates.queries
    fits, expected = one.write and one.rows == (by_name is None), f"one of {', '.join(WRITTEN)}"
    require(fits, f"these names or rows cannot be written as {form}", expected=expected)
    require(candidates.sims is not None or not one.scored, f"the form {form} needs scores")
    _check_names(form, candidates)
    sims = candidates.sims or tuple(np.zeros(len(row), np.float32) for row in candidates.found)
    write: Any = one.write
    numbers = {**(columns or {}), "score": sims}
    lists = (
        Ranked(query, list(candidates.found[q]), {name: rows[q] for name, rows in numbers.items()})
        for q, query in enumerate(by_name or ())
    )
    with replacing(path, overwrite=True) as part:
        if one.rows:
            write(part, _padded(candidates.found, PAD), _padded(sims, arrays.NO_SIM))
        else:
            with part.open("w", encoding="utf-8", errors=ODD_NAMES, newline="") as file:
                write(file, lists, tag)
    return Path(path)


def _padded(rows: Sequence[Any], fill: Any) -> Any:
    """[Q, K] of lists of several lengths."""
    padded = np.full((len(rows), max(map(len, rows), default=0)), fill)
    for whole, row in zip(padded, rows, strict=True):
        whole[: len(row)] = row
    return padded
