"""`model=none`: an evaluation of neighbour lists as they are. No descriptor is opened.

Its report shows successes, and of the failures those that are furthest from a correct image.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ames_lite.cli.compose import as_dict
from ames_lite.cli.failures import choose
from ames_lite.cli.results_table import show
from ames_lite.cli.schema.evaluation import Evaluate
from ames_lite.cli.shell import RESULTS, as_list, dataset_files, protocol_of, run_dir, run_prefix
from ames_lite.errors import check_config
from ames_lite.evaluation.data import ListData, excluded, load_lists
from ames_lite.evaluation.evaluator import check_exports, report_global, write_exports
from ames_lite.evaluation.passes import Cell
from ames_lite.evaluation.report import Shown, write_report
from ames_lite.evaluation.results_file import NO_MODEL, NO_SCORES, Rankings
from ames_lite.io.json_file import write_json_file

OF_RERANKING = ("weights", "num_rerank", "lamb", "temp", "tuned", "scores")
SHOWN = 10  # queries of a kind in the report


def run(config: Evaluate, comparisons: Sequence[tuple[str, dict[str, float]]]) -> dict[str, Any]:
    given = [key for key in OF_RERANKING if getattr(config, key) is not None]
    what = f"{', '.join(given)} given with model={NO_MODEL}, which reranks nothing"
    check_config(not given, what, f"model={NO_MODEL} alone, or another model")
    files, protocol = dataset_files(config), protocol_of(config)
    exports, top = as_list(config.exports or []), config.export_top
    setting = check_exports(exports, protocol, config.export_setting, top)
    whole = {"whole": bool(exports), "unlabelled": bool(exports)}
    data = load_lists(files, protocol, config.neighbors, **whole)
    results = report_global(data, as_dict(config))
    folder = run_dir(config, run_prefix(config, "evaluate"), RESULTS)
    show(results, config.seed)
    measured = min(excluded(data).values()) < len(data.ground_truth.query_names)
    if not measured:
        print("no query has a positive: nothing is measured")
    elif config.report_queries:
        _report(config, data, results, folder, comparisons)
    cell = Cell(0, 1.0, 1.0)
    tag = f"{config.neighbors}-{setting}"
    exported = (folder, exports, data, NO_SCORES, cell)
    for path in write_exports(*exported, tag=tag, setting=setting, top=top):
        print(f"export:  {path}")
    print(f"results: {write_json_file(folder / RESULTS, results)}")
    return results


def _report(
    config: Evaluate,
    data: ListData,
    results: dict[str, Any],
    folder: Path,
    comparisons: Sequence[tuple[str, dict[str, float]]],
) -> None:
    lists = data.protocol, data.ground_truth, data.neighbors
    found = Rankings(*lists, NO_SCORES, results, folder / RESULTS)
    count = min(SHOWN, config.report_queries)
    picked, notes = choose(found, 0, data.protocol.main_settings[0], count)
    page = write_report(
        folder / "report.html",
        found,
        config.images or data.files.image_root,
        Shown(config.report_queries, config.report_images, 0),
        comparisons=comparisons,
        setting=data.protocol.main_settings[0],
        picked=picked,
    )
    print("\n".join([*notes, f"report:  {page}"]))
