"""`python scripts/search.py images=<folder> query=<image or folder>`: search one's own images. The
run directory gets retrieval_results.json, the same with scores, and report.html.
"""

import time
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

from ames_lite.cli import searching
from ames_lite.cli.answers import Answers, write_answers
from ames_lite.cli.schema.evaluation import Search
from ames_lite.cli.searching import NAMED, Folder, Model, say_failed, say_without_descriptors
from ames_lite.cli.shell import print_table, run_dir
from ames_lite.errors import check_config
from ames_lite.io.images import Box
from ames_lite.search.image_search import Found, list_queries, search_images
from ames_lite.search.index import OpenIndex
from ames_lite.search.page import ABSENT, views_of, write_search_page
from ames_lite.stores.candidates import WRITTEN, Candidates, write_candidates


def build_index(config: Search) -> None:
    check_config(config.query is None, "index takes no query=", "ames search images=… query=…")
    run(config)


def run(config: Search) -> Found | None:
    """Index and search as configured; returns what was found, None without a query."""
    images, box = searching.images_folder(config.images), _box(config)
    if config.query is not None:
        root, _, notes = list_queries(config.query)
        if root != images:  # of that folder the index says it
            print("\n".join(notes), end="\n" * bool(notes))
    with closing(searching.open_folder(config, config.query is not None, config.certain)) as folder:
        bad, found = dict(folder.failed), None
        if folder.model is not None:
            found = _search(config, folder, folder.model, box)
    if found is not None:
        said = bad if found.root == images else {}  # named with the index
        unsaid = {name: why for name, why in found.failed.items() if name not in said}
        of = len(found.queries) + len(found.failed)
        say_failed(unsaid, f"of {of} queries cannot be described")
        bad |= found.failed
    searching.check_bad_images(config, bad)
    return found


def _box(config: Search) -> Box | None:
    box = config.box
    if box is None:
        return None
    fine = len(box) == 4 and box[0] < box[2] and box[1] < box[3]
    check_config(fine, f"box={box}", "[x1,y1,x2,y2] in pixels, x1 < x2 and y1 < y2")
    single = config.query is not None and not config.query.is_dir()
    check_config(single, "box= goes with a single query image", "query=<image>")
    return (float(box[0]), float(box[1]), float(box[2]), float(box[3]))


def _search(config: Search, folder: Folder, model: Model, box: Box | None) -> Found:
    began, ranker = time.perf_counter(), model.ranker
    assert config.query is not None
    how = (folder.index, config.query, folder.backbone, ranker)
    keep = config.report_queries if config.report_pairs else 0
    found = search_images(*how, box=box, workers=config.workers, keep=keep)
    seconds, num = time.perf_counter() - began, found.hits.ids.shape[1]
    if num < ranker.num_rerank:
        print(f"num_rerank={ranker.num_rerank} is more than there are: {num}")
    print("\n".join(filter(None, [str(model), model.answers.said])))
    scored = f"{found.hits.scored / found.hits.ids.size:.1%} of pairs scored"
    if config.certain is not None:
        print(f"certain at a score of {ranker.certain:.4f}: {scored}")
    if ranker.first is not None:
        print(f"cascade behind {ranker.first.scorer.name}: {scored}")
    _show(found, config.top, model.answers)
    print()
    of = len(found.queries)
    say_without_descriptors(sorted(found.empty), of, "queries")
    print(f"{of} {'query' if of == 1 else 'queries'} described and searched in {seconds:.2f} s")
    _write(config, folder, model, found)
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


def _write(config: Search, folder: Folder, model: Model, found: Found) -> None:
    last = WRITTEN["json"].format("")
    run = run_dir(config, f"search_{folder.images.name}_{config.backbone.name}", last)
    sides = (found.queries, found.gallery)
    ranking = Candidates.of_arrays(found.hits.ids, found.hits.scores).named(*sides)
    scored = run / WRITTEN["json_scores"].format("")
    write_candidates(scored, "json_scores", ranking)
    if model.answers != Answers():
        write_answers(run / "answers.json", *sides, found.hits, model.answers)
    if config.report_queries:
        print(f"report:  {_write_page(config, run / 'report.html', folder, model, found)}")
    print(f"results: {write_candidates(run / last, 'json', ranking)}")


def _write_page(config: Search, path: Path, folder: Folder, model: Model, found: Found) -> Path:
    answers, ranker = model.answers, model.ranker
    with OpenIndex(folder.index) as opened:
        facts = {"Folder": str(folder.images), "Images": str(len(opened))}
        facts |= {"Descriptors": config.backbone.name, "Model": ranker.scorer.name}
        facts["Candidates"] = str(found.hits.ids.shape[1])
        facts["λ, γ"] = f"{ranker.lamb:g}, {ranker.temp:g} ({model.role})"
        facts |= {"Answers": answers.said} if answers.said else {}
        for side, names in (("Queries", sorted(found.empty)), ("Images", opened.empty())):
            if names:
                facts[f"{side} without descriptors"] = f"{len(names)}: {', '.join(names[:NAMED])}"
        return write_search_page(
            path,
            found,
            folder.images,
            facts=facts,
            probability=answers.probability(found.hits.scores),
            absent=answers.absent(found.hits),
            not_indexed=opened.failed,
            num_shown=config.top,
            num_queries=config.report_queries,
            views=views_of(found, opened, ranker),
            num_pairs=config.report_pairs,
        )
