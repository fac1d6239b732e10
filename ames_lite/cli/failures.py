"""`python scripts/failures.py results=<run>`: the page of what an evaluation got right and wrong.
The files that the run read are read again, and must give the metrics of results.json.
"""

import logging
import os
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ames_lite.cli.schema.evaluation import Evaluate, Failures, OfResults
from ames_lite.cli.schema.values import built
from ames_lite.cli.scoring_run import SCORES
from ames_lite.cli.shell import dataset_files, protocol_of, run_dir, run_prefix
from ames_lite.datasets.layout import DatasetFiles
from ames_lite.errors import BadInput, ConfigError, MissingFile, check_config, require
from ames_lite.evaluation import report
from ames_lite.evaluation.evaluator import check_exports
from ames_lite.evaluation.metrics import Floats, best_ranks
from ames_lite.evaluation.page import PagePictures
from ames_lite.evaluation.report import Shown, pick_row, write_report
from ames_lite.evaluation.results_file import Rankings, read_results, reread, results_path

logger = logging.getLogger(__name__)

PAGE = "failures.html"
MOST = 50  # queries of a kind
NEEDED = ("dataset", "desc_name", "neighbors")  # of the run's configuration
OF_RUN = (*NEEDED, "data_root", "images", "scores", "ap_divisor", "k")
KINDS = ("helped most", "worst")  # queries on the page
OF_GLOBAL = ("success", "worst by distance")  # where nothing is reranked
OF_DATASET = {"option", "folder", "protocol", "page"}


def run(config: Failures) -> Path:
    """Write the page and print what it shows; returns its path."""
    if config.results is None:
        raise ConfigError("results= is not given", expected="results=<results.json or its folder>")
    num = config.num_rows
    check_config(1 <= num <= MOST, f"num_rows={num}", f"a number from 1 to {MOST}")
    ran, files, setting, place, read = opened(config, config.results)
    images = ran.images or files.image_root
    if not images.is_dir():
        raise _no_images("the folder of the images is missing", images, files.page)
    found = read()
    picked, notes = choose(found, place, setting, num)
    output = run_dir(config, run_prefix(ran, "failures"), PAGE) / PAGE
    check = partial(_say_missing, images, files.page)
    how: Any = {"row": place, "setting": setting, "picked": picked, "check": check}
    page = write_report(output, found, images, Shown(), **how)
    print("\n".join([title_of(found.results, place, setting), *notes, f"failures: {page}"]))
    return page


def _no_images(what: str, where: Path, page: str) -> MissingFile:
    expected = "images=<the folder that image names are relative to>"
    return MissingFile(what, where=where.absolute(), expected=expected, remedy=page)


def _say_missing(root: Path, page: str, pictures: PagePictures) -> None:
    """How many images could not be shown. Raises MissingFile where none could."""
    names = [os.path.relpath(path, root) for path, _ in pictures.sides]
    found = zip(names, pictures.encoded, strict=True)
    missing, total = {name: one.trouble for name, one in found if one.trouble}, len(set(names))
    if len(missing) == total:
        what = f"none of the {total} images can be shown, first '{next(iter(missing))}'"
        raise _no_images(what, root, page)
    if missing:
        listed = "; ".join(f"{name}: {trouble}" for name, trouble in list(missing.items())[:3])
        shown = f"{len(missing)} of {total} images are not shown, below {root}"
        logger.warning("%s: %s", shown, listed)


class Opened(NamedTuple):
    """An evaluation that is opened again; read: its rankings, from the files that it read."""

    ran: Evaluate
    files: DatasetFiles
    setting: str
    place: int  # of the row
    read: Callable[[], Rankings]


def opened(config: OfResults, run: Path) -> Opened:
    """Raises ConfigError for another setting or row than there are."""
    where = results_path(run)
    results = read_results(where)
    ran = settings_of(results, config, where)
    files, protocol = dataset_files(ran), protocol_of(ran)
    setting = check_exports((), protocol, None if config.setting == "auto" else config.setting)
    row, count = config.row, len(results["rows"])
    check_config(0 <= row <= count, f"row={row}", f"1 to {count}, or 0: the best", where=where)
    place = row - 1 if row else pick_row(results["rows"], protocol.main)
    scores = _scores_of(ran, config, where)
    read = partial(reread, results, where, files, protocol, ran.neighbors, scores)
    return Opened(ran, files, setting, place, read)


def settings_of(results: Mapping[str, Any], config: OfResults, where: Path) -> Evaluate:
    """The configuration of the run, with what is given now in its place."""
    ran = results["config"]
    missing = [key for key in NEEDED if key not in ran]
    dataset = ran.get("dataset")
    fine = not missing and isinstance(dataset, dict) and OF_DATASET <= set(dataset)
    what = f"the configuration in it lacks {', '.join(missing) or 'parts of dataset'}"
    expected, remedy = "results.json of scripts/evaluate.py", "evaluate again"
    require(fine, what, where=where, expected=expected, remedy=remedy)
    given = {key: getattr(config, key, None) for key in ("data_root", "images", "neighbors")}
    kept = {key: ran[key] for key in OF_RUN if key in ran}
    found: Evaluate = built(Evaluate, kept | {k: v for k, v in given.items() if v is not None})
    return found


def _scores_of(ran: Evaluate, config: OfResults, where: Path) -> Path:
    """`scores=`, those beside results.json, or those that the run took from an earlier one."""
    beside = where.parent / SCORES
    earlier = None if beside.is_file() else ran.scores
    path = config.scores or earlier or beside
    return path / SCORES if path.is_dir() else path


def choose(
    found: Rankings, place: int, setting: str, count: int
) -> tuple[dict[str, list[int]], list[str]]:
    """Rows of the queries of KINDS, and what is to be said of them and of all."""
    both = found.row(place)
    before, after = (best_ranks(one.hits[setting]) for one in both)
    right, wrong = int((after == 1).sum()), int((after > 1).sum())
    if not right + wrong:
        raise BadInput("no query has a correct image in this setting", where=found.where)
    if not found.results["rows"][place]["num_rerank"]:
        rows = report.nearest_and_furthest(found, both[0].hits[setting], setting, count)
        return dict(zip(OF_GLOBAL, rows, strict=True)), [
            f"a correct image first: {right} of {right + wrong} queries; shown: {len(rows[0])} of "
            f"them, and of the others the {len(rows[1])} that are furthest from a correct image"
        ]
    first, second = (one.ap[setting] for one in both)
    won, lost = report.best_and_worst(before, after, first, second, count)
    main = found.protocol.main
    values = [one.metrics[main] for one in both]
    firsts, moves = _moved(before, after)
    return dict(zip(KINDS, (won, lost), strict=True)), [
        f"{main}: global {values[0]:.4f} → reranked {values[1]:.4f}; {firsts}",
        moves,
        f"Helped most: {len(won)} of {right} with a correct image first",
        f"Worst: {len(lost)} of {right + wrong}; {wrong} have a wrong image first",
    ]


def _moved(before: Floats, after: Floats) -> tuple[str, str]:
    """How many queries have a correct image first; of how many the best correct one moved."""
    without = int(np.isnan(after).sum())
    firsts = [int((ranks == 1).sum()) for ranks in (before, after)]
    said = f"correct image first: {firsts[0]} → {firsts[1]} of {len(after) - without} queries"
    said += f" ({without} have no correct image)" if without else ""
    higher, lower, same = (int(x.sum()) for x in (after < before, after > before, after == before))
    moves = f"higher for {higher} queries, lower for {lower}, at the same rank for {same}"
    return said, f"best correct image: {moves}"


def title_of(results: Mapping[str, Any], place: int, setting: str) -> str:
    row = results["rows"][place]
    settings = f"num_rerank {row['num_rerank']}, λ {row['lamb']:g}, γ {row['temp']:g}"
    if not row["num_rerank"]:
        return f"{results['dataset']}, {results['desc_name']}: the global ranking"
    role = f" ({row['role']})" if row.get("role") else ""
    graded = "" if setting == "all" else f", {setting}"
    parts = [results["dataset"] + graded, results["desc_name"], results["model"]]
    return f"{', '.join(parts)}: {settings}{role}, row {place + 1} of {len(results['rows'])}"
