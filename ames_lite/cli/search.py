"""`python scripts/search.py images=<folder> query=<image or folder>`: search one's own images.

The index is brought up to date; with a query its candidates are retrieved and reranked. The run
directory gets retrieval_results.json, the same with scores, and report.html.
"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from glob import escape
from pathlib import Path
from typing import NamedTuple

from ames_lite.cli.answers import ABSENT, Answers, read_answers, write_answers
from ames_lite.cli.evaluate import choose_ensemble, open_scorer
from ames_lite.cli.extraction import configured_backbone
from ames_lite.cli.schema.evaluation import Search
from ames_lite.cli.scoring_run import settled
from ames_lite.cli.shell import data_root, print_table, run_dir
from ames_lite.errors import BadInput, ConfigError, MissingFile, check_config, require
from ames_lite.evaluation.exports import FORMS, write_ranking
from ames_lite.evaluation.pair_view import PairViews
from ames_lite.extraction.backbones.interface import Backbone
from ames_lite.hub import shipped_head
from ames_lite.io.digest import names_digest
from ames_lite.io.images import Box
from ames_lite.io.shipped import shipped
from ames_lite.models import HEADS
from ames_lite.records import Neighbors
from ames_lite.reranking.scorer import ScoringOptions
from ames_lite.runtime import pick_device
from ames_lite.search.image_search import Found, Ranker, list_queries, search_images
from ames_lite.search.index import OpenIndex
from ames_lite.search.indexing import Indexed, index_images
from ames_lite.search.page import write_search_page
from ames_lite.stores.descriptor_store import say_empty

# λ, γ of baselines by descriptors, chosen on the validation sets of the released heads
BASELINES = {
    "photo": {"chamfer": (0.1, 2.0), "mutual_nn": (0.4, 0.02), "ransac": (0.3, 0.02)},
    "sift": {"mutual_nn": (0.3, 0.1), "ransac": (0.2, 0.02)},
}
REMEDY = (
    "of a whole checkout backbone=photo model=elvis, or backbone=sift model=elvis or ames; or "
    "weights=<folder> of a head of your own: make demo trains one in minutes "
    "(runs/demo_…/train); or model=ransac, which needs none"
)
ALL = 1 << 20  # descriptors: more than any image has
NAMED = 20  # images that are named on the screen


def build_index(config: Search) -> None:
    check_config(config.query is None, "index takes no query=", "ames search images=… query=…")
    run(config)


class _Model(NamedTuple):
    """role: where λ and γ come from."""

    ranker: Ranker
    role: str
    answers: Answers


def run(config: Search) -> Found | None:
    """Index and search as configured; returns what was found, None without a query."""
    images = _images(config)
    box = _box(config)
    described = "fp32" if config.precision == "auto" else config.precision
    backbone = configured_backbone(config.backbone, config, described)
    model = None
    if config.query is not None:
        root, _, notes = list_queries(config.query)
        if root != images:  # of that folder the index says it
            print("\n".join(notes), end="\n" * bool(notes))
        config = settled(config, pick_device(config.device))
        model = _model(config)
        if model.ranker.scorer.check is not None:
            model.ranker.scorer.check(backbone.provenance, "this run")
    index = index_folder(config, images)
    bad: dict[str, str] = {}
    if config.update:
        released = released_vocabulary(config.backbone.name, config.model.name)
        indexed = index_images(
            images,
            index,
            backbone,
            vocabulary=config.vocabulary or released,
            workers=config.workers,
            rebuild=config.rebuild,
        )
        _say_indexed(indexed)
        bad |= indexed.failed
    elif model is not None:
        with OpenIndex(index) as opened:
            _say_empty(opened.empty(), len(opened))
    found = None
    if model is not None:
        found = _search(config, index, backbone, model, box)
        said = bad if found.root == images else {}  # named with the index
        unsaid = {name: why for name, why in found.failed.items() if name not in said}
        of = len(found.queries) + len(found.failed)
        _say_failed(unsaid, f"of {of} queries cannot be described")
        bad |= found.failed
    if bad and config.on_bad_image == "error":
        listed = "\n".join(f"  {name}: {why}" for name, why in bad.items())
        remedy = "mend or remove them, or on_bad_image=skip"
        raise BadInput(f"{len(bad)} images cannot be described:\n{listed}", remedy=remedy)
    return found


def index_folder(config: Search, images: Path) -> Path:
    """`index=`, or the place of the index of this folder and backbone below data_root."""
    if config.index is not None:
        return config.index.absolute()
    place = f"{images.name}_{names_digest([str(images)])[:8]}"
    return data_root(config) / "search" / place / config.backbone.name


def _images(config: Search) -> Path:
    if config.images is None:
        expected = "images=<folder> query=<image or folder>"
        raise ConfigError("images= is not given", expected=expected)
    images = config.images.absolute()
    require(not images.is_file(), "images= is a file", where=images, expected="a folder")
    if not images.is_dir():
        raise MissingFile("the folder of images is missing", where=images, expected="a folder")
    return images


def _box(config: Search) -> Box | None:
    box = config.box
    if box is None:
        return None
    fine = len(box) == 4 and box[0] < box[2] and box[1] < box[3]
    check_config(fine, f"box={box}", "[x1,y1,x2,y2] in pixels, x1 < x2 and y1 < y2")
    single = config.query is not None and not config.query.is_dir()
    check_config(single, "box= goes with a single query image", "query=<image>")
    return (float(box[0]), float(box[1]), float(box[2]), float(box[3]))


def released_vocabulary(desc_name: str, model: str) -> Path | None:
    """The VLAD vocabulary beside that head; of a model without one, beside ames; None: none."""
    folders = (shipped(f"{desc_name}_{name}") for name in (model, "ames"))
    of_desc = f"vlad_{escape(desc_name)}_*.npz"
    return next((path for folder in folders for path in sorted(folder.glob(of_desc))), None)


def _model(config: Search) -> _Model:
    name = config.model.name
    needs_weights = name in HEADS and HEADS[name].marker is not None
    desc_name, weights = config.backbone.name, config.weights
    if needs_weights and weights is None:
        weights = shipped_head(f"{desc_name}_{name}", REMEDY)
    scorer, meta = open_scorer(config.model, desc_name, weights)
    own = config.lamb is None and config.temp is None
    known = BASELINES.get(desc_name, BASELINES["sift"])
    if name in known and own:
        (lamb, temp), role = known[name], "chosen on a validation set"
    else:
        (lamb,), (temp,), tuned_on, _ = choose_ensemble(config, meta)
        chosen = f", chosen on {tuned_on}" if tuned_on else ""
        role = f"frozen with the head{chosen}" if own else "given"
    options = ScoringOptions(
        query_count=config.query_desc_num or ALL,
        gallery_count=config.gallery_desc_num or ALL,
        precision=config.precision,
        device=str(pick_device(config.device)),
    )
    answers = read_answers(replace(config, weights=weights), meta, frozen=own)
    ranker = Ranker(scorer, lamb, temp, config.num_rerank, answers.certain, options)
    return _Model(ranker, role, answers)


def _say_indexed(indexed: Indexed) -> None:
    for note in indexed.notes:
        print(note)
    counts = ((what, getattr(indexed.changes, what)) for what in ("new", "changed", "gone"))
    said = ", ".join(f"{count} {what}" for what, count in counts if count)
    print(f"index: {indexed.total} images, {said or 'nothing new'}: {indexed.folder}")
    _say_failed(indexed.failed, f"of {indexed.total} images cannot be described")
    _say_empty(indexed.empty, indexed.total)


def _say_empty(names: Sequence[str], total: int, what: str = "images") -> None:
    if names:
        print(say_empty(names, total, what))


def _say_failed(failed: Mapping[str, str], what: str) -> None:
    if failed:
        print(f"{len(failed)} {what} and {'is' if len(failed) == 1 else 'are'} left out:")
        for name, reason in list(failed.items())[:NAMED]:
            print(f"  {name}: {reason}")
        if len(failed) > NAMED:
            print(f"  and {len(failed) - NAMED} more, which report.html lists")


def _search(
    config: Search, index: Path, backbone: Backbone, model: _Model, box: Box | None
) -> Found:
    began = time.perf_counter()
    assert config.query is not None
    found = search_images(
        index,
        config.query,
        backbone,
        model.ranker,
        box=box,
        workers=config.workers,
        keep=config.report_queries if config.report_pairs else 0,
    )
    seconds = time.perf_counter() - began
    ranker, num = model.ranker, found.hits.ids.shape[1]
    if num < ranker.num_rerank:
        print(f"num_rerank={ranker.num_rerank} is more than there are: {num}")
    print(f"{ranker.scorer.name}: λ {ranker.lamb:g}, γ {ranker.temp:g} ({model.role})")
    if model.answers.said:
        print(model.answers.said)
    if config.certain is not None:
        saved = 1 - found.hits.scored / found.hits.ids.size
        print(f"certain at a score of {ranker.certain:.4f}: {saved:.1%} of pairs saved")
    _show(found, config.top, model.answers)
    print()
    of = len(found.queries)
    _say_empty(sorted(found.empty), of, "queries")
    print(f"{of} {'query' if of == 1 else 'queries'} described and searched in {seconds:.2f} s")
    _write(config, index, model, found)
    return found


def _show(found: Found, top: int, answers: Answers) -> None:
    hits, absent = found.hits, answers.absent(found.hits)
    for q, query in enumerate(found.queries[:NAMED]):
        own = found.own[q]
        inside = f" (in the folder itself, as {own}: left out of its list)" if own else ""
        print(f"\n{query}{inside}")
        if query in found.empty:
            print("has no descriptors: no image is similar, all are in the order of their names")
        elif absent[q]:
            nearest = found.names(q)[0]
            print(f"{ABSENT}: the best, {nearest}, has a score of {hits.scores[q, 0]:.4f}")
        else:
            _print_hits(found, q, top, answers)
    if len(found.queries) > NAMED:
        print(f"\nand {len(found.queries) - NAMED} more queries, in retrieval_results.json")


def _print_hits(found: Found, q: int, top: int, answers: Answers) -> None:
    scores = found.hits.scores[q : q + 1, :top]
    columns: dict[str, Sequence[object]] = {
        "image": found.names(q)[:top],
        "rank": range(1, scores.shape[1] + 1),
        "score": scores[0].tolist(),
    }
    probability = answers.probability(scores)
    if probability is not None:
        columns["probability"] = probability[0].tolist()
    columns["global"] = found.hits.global_rank[q, :top].tolist()
    print_table(list(columns), list(zip(*columns.values(), strict=True)))


def _write(config: Search, index: Path, model: _Model, found: Found) -> None:
    last = FORMS["json"].format("")
    folder = run_dir(config, f"search_{_images(config).name}_{config.backbone.name}", last)
    sides = (found.queries, found.gallery)
    ranking = Neighbors(found.hits.ids, found.hits.scores, len(found.gallery))
    scored = folder / FORMS["json_scores"].format("")
    write_ranking(scored, "json_scores", *sides, ranking)
    if model.answers != Answers():
        write_answers(folder / "answers.json", *sides, found.hits, model.answers)
    if config.report_queries:
        print(f"report:  {_write_page(config, folder / 'report.html', index, model, found)}")
    print(f"results: {write_ranking(folder / last, 'json', *sides, ranking)}")


def _write_page(config: Search, path: Path, index: Path, model: _Model, found: Found) -> Path:
    images, answers, ranker = _images(config), model.answers, model.ranker
    with OpenIndex(index) as opened:
        facts = {
            "Folder": str(images),
            "Images": str(len(opened)),
            "Descriptors": config.backbone.name,
            "Model": ranker.scorer.name,
            "Candidates": str(found.hits.ids.shape[1]),
            "λ, γ": f"{ranker.lamb:g}, {ranker.temp:g} ({model.role})",
        }
        if answers.said:
            facts["Answers"] = answers.said
        for side, names in (("Queries", sorted(found.empty)), ("Images", opened.empty())):
            if names:
                facts[f"{side} without descriptors"] = f"{len(names)}: {', '.join(names[:NAMED])}"
        read = partial(opened.read, max_count=ranker.options.gallery_count)
        return write_search_page(
            path,
            found,
            images,
            facts=facts,
            probability=answers.probability(found.hits.scores),
            absent=answers.absent(found.hits),
            not_indexed=opened.failed,
            num_shown=config.top,
            num_queries=config.report_queries,
            views=PairViews(ranker.scorer.model, found.local.__getitem__, read),
            num_pairs=config.report_pairs,
        )
