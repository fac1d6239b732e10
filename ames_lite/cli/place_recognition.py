"""`python scripts/place_recognition.py`: datasets in their official layouts in, one table out.

Lists → local descriptors → vocabulary → global descriptors → neighbour lists → every reranker, with
λ and γ that were chosen elsewhere. All that is missing is one message before any long work. Each
step is printed as a command; complete files are compared with what this run would make, and kept.
"""

from collections.abc import Callable, Container, Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ames_lite.cli import evaluate, shell
from ames_lite.cli.extraction import configured_backbone, find_lists
from ames_lite.cli.place_stages import OF_LOCAL, Command, Pipeline, Stage, named
from ames_lite.cli.prepare_set import UNVERIFIED
from ames_lite.cli.remedies import Files
from ames_lite.cli.schema.evaluation import PlaceRecognition
from ames_lite.cli.scoring_run import SCORES, scoring_options
from ames_lite.datasets.relation import SIDES
from ames_lite.errors import BadInput, ConfigError, MissingFile, UserError, require
from ames_lite.evaluation.comparison import GLOBAL, Block, Entry, compare
from ames_lite.evaluation.comparison_table import one_table, render
from ames_lite.evaluation.data import find_files
from ames_lite.evaluation.metrics import find_hits
from ames_lite.evaluation.protocols import get_protocol, summarize
from ames_lite.evaluation.results_file import check_read, read_results
from ames_lite.extraction.backbones.interface import Backbone
from ames_lite.io.overrides import word
from ames_lite.io.writing import replacing
from ames_lite.stores.published.store import is_published

LAST = "table.csv"


def run(config: PlaceRecognition) -> list[Block]:
    """The whole job; returns the table, one block a dataset."""
    what = "place_recognition was started as several processes"  # its stages share their work out
    remedy = "run the stages that it prints under torchrun, then this: complete files stay"
    shell.check_alone(what, "one process", remedy)
    pipeline = Pipeline(config)
    title = config.title or "+".join(place.name for place in pipeline.places)
    folder = config.output_dir or shell.stamped_dir(f"place_recognition_{title}")
    if not shell.was_interrupted(folder, config, LAST):
        shell.refuse_used(folder, LAST)
    stages, networks = check(pipeline)
    for name, why in pipeline.left_out.items():
        print(f"left out: {name}: {why}")
    shell.run_dir(replace(config, output_dir=folder), "place_recognition", LAST)
    for stage in stages:
        _fill(pipeline, stage, networks)
    blocks = [_rerank(pipeline, place, folder / place.name) for place in pipeline.places]
    print(f"\n{_write_tables(pipeline, blocks, folder)}")
    _say_published(config, blocks)
    print(f"tables: {folder / 'table.md'}, {folder / 'table.csv'}")
    return blocks


def _say_published(config: PlaceRecognition, blocks: Sequence[Block]) -> None:
    """The published figures of these sets beside those of the global ranking, in points."""
    published = config.published.get(config.size or "", {})
    rows: list[list[object]] = []
    for block in blocks:
        found = next(line.metrics for line in block.lines if line.name == GLOBAL)
        for metric, figure in published.get(block.dataset, {}).items():
            points, obtained = found.get(metric), ["-", "-"]
            if points is not None:
                obtained = [f"{100 * points.mean:.2f}", f"{100 * points.mean - figure:+.2f}"]
            rows.append([block.dataset, metric, f"{figure:.2f}", *obtained])
    if rows:
        print()
        shell.print_table(["published", "", "expected", "obtained", "difference"], rows)


def check(pipeline: Pipeline) -> tuple[list[Stage], dict[str, Backbone]]:
    """All stages, each once, and the networks that could be loaded. Raises one error that lists all
    that is wrong; with skip_missing, datasets whose files are missing are left out.
    """
    problems: list[UserError] = []
    stages: dict[Command, Stage] = {}
    _try(problems, "columns", _check_columns, pipeline)
    for name, of_place in pipeline.stages().items():
        own: list[UserError] = []
        for stage in of_place:
            if stage.about == name:
                _check_stage(pipeline, stage, own)
        if own and _only_missing(own) and pipeline.config.skip_missing:
            pipeline.left_out[name] = " ".join(str(own[0]).split("\n")[:2])
        else:
            problems += own
            stages |= {stage.command: stage for stage in of_place}
    pipeline.places = [one for one in pipeline.places if one.name not in pipeline.left_out]
    if not pipeline.places:
        raise MissingFile("\n".join(["none of the sets is there:", *pipeline.left_out.values()]))
    for stage in stages.values():
        if stage.about != stage.place.name:  # of a vocabulary
            _check_stage(pipeline, stage, problems)
    networks = _load_networks(pipeline, stages.values(), problems)
    for reranker in pipeline.rerankers:
        _try(problems, reranker, _check_reranker, pipeline, reranker, networks.get(OF_LOCAL))
    if (scores := pipeline.config.scores) and not (scores / "config.yaml").is_file():
        expected = "a run directory of this command"
        problems.append(MissingFile("missing: the earlier run", where=scores, expected=expected))
    if problems:
        kind = MissingFile if _only_missing(problems) else BadInput
        raise kind("\n".join(dict.fromkeys(map(str, problems))))
    return list(stages.values()), networks


def _try(problems: list[UserError], about: str, work: Callable[..., Any], *given: Any) -> Any:
    """What work gives; None where it raises an error, which is kept."""
    try:
        return work(*given)
    except UserError as error:
        problems.append(type(error)(f"{about}: {error}"))
        return None


def _only_missing(problems: Sequence[UserError]) -> bool:
    return all(isinstance(error, MissingFile) for error in problems)


def _check_columns(pipeline: Pipeline) -> None:
    hits = find_hits(np.zeros((1, 1), np.int32), [np.zeros(1, np.int64)])
    known: set[str] = set()
    for place in pipeline.places:
        protocol = get_protocol(str(place.dataset.protocol))
        known |= summarize(dict.fromkeys(protocol.settings, hits), protocol).metrics.keys()
    for key in ("columns", "metric"):
        unknown = set(shell.as_list(getattr(pipeline.config, key) or [])) - known
        if unknown:
            what = f"{key}={getattr(pipeline.config, key)}: no set has '{min(unknown)}'"
            raise ConfigError(what, expected=f"some of {', '.join(sorted(known))}")


def _check_stage(pipeline: Pipeline, stage: Stage, problems: list[UserError]) -> None:
    """Its output, where it is kept; else what it needs: lists, and the images that it reads."""
    if stage.keep is not None:
        _try(problems, stage.about, stage.keep)
    elif _try(problems, stage.about, make_lists, pipeline, stage.place) and stage.network:
        for split in stage.unfilled:
            _try(problems, stage.about, _check_images, stage.place, split)


def make_lists(pipeline: Pipeline, place: Files) -> bool:
    """Image lists and ground truth, made from the official layout (if it has one) if missing."""
    try:
        find_lists(place, SIDES)
    except MissingFile:
        if not place.dataset.reader:
            raise
        pipeline.steps("prepare_set", *named(place))
    return True


def _check_images(place: Files, split: str) -> None:
    names, root = place.names(split), place.image_root
    absent = [name for name in names if not (root / name).is_file()]
    if absent:
        missing = f"{len(absent)} of {len(names)} {split} images are missing"
        what = f"{missing}, the first is '{absent[0]}'"
        expected = f"every image of {place.image_list(split)}"
        raise MissingFile(what, where=root, expected=expected, remedy=place.page)


def _load_networks(
    pipeline: Pipeline, stages: Iterable[Stage], problems: list[UserError]
) -> dict[str, Backbone]:
    """The networks of the stages. One whose weights are missing is a problem if work is left."""
    loaded: dict[str, Backbone] = {}
    for stage in stages:
        if stage.network is None or stage.network in loaded:
            continue
        wrong: list[UserError] = []
        backbone = _try(wrong, stage.network, _load, pipeline, stage)
        if backbone is not None:
            loaded[stage.network] = backbone
        elif stage.unfilled or not _only_missing(wrong):
            problems += wrong
    return loaded


def _load(pipeline: Pipeline, stage: Stage) -> Backbone:
    config = pipeline.steps.config(*stage.command)
    backbone = configured_backbone(config.backbone, config)
    _ = backbone.provenance  # loads the weights
    if pipeline.with_cls and backbone.global_kind != "cls":
        what = f"global=cls, and {config.backbone.name} has no CLS token"
        raise ConfigError(what, expected="another global=, or another backbone=")
    return backbone


def _check_reranker(pipeline: Pipeline, name: str, backbone: Backbone | None) -> None:
    """Raises where its weights, λ or γ are missing, or where it is for other descriptors."""
    config = pipeline.steps.config(*pipeline.rerank(pipeline.places[0], name))
    if not pipeline.reranks:
        return
    counts = config.query_desc_num, config.gallery_desc_num
    scoring_options(config, torch.device("cpu"), *counts)
    _, scorer, _ = evaluate.check(config)
    if backbone is None:
        return
    wants, width = scorer.model.arguments.get("dim_in"), backbone.dim
    what = f"the head takes descriptors of width {wants}, {config.desc_name} has {width}"
    expected = "a head that was trained on these descriptors"
    require(wants in (None, width), what, where=config.weights, expected=expected)
    if scorer.check is not None:
        scorer.check(backbone.provenance, "this run")


def _fill(pipeline: Pipeline, stage: Stage, networks: Container[str]) -> None:
    """Run a stage, which continues or compares; not where there is nothing to compare with."""
    paths = [path for of_split in stage.fills.values() for path in of_split]
    listed = ", ".join(map(str, paths))
    kept = stage.keep and stage.keep()
    if kept:
        print(f"\nkept: {kept}")
    elif any(path.is_file() and is_published(path) for path in paths):
        print(f"\ntaken as they are, of the published form: {listed}")
    elif stage.network is not None and stage.network not in networks:
        print(f"\ntaken as they are, without the weights to compare: {listed}")
    else:
        pipeline.steps(*stage.command)


def _rerank(pipeline: Pipeline, place: Files, folder: Path) -> Block:
    """Evaluate every reranker on a dataset; returns its lines of the table."""
    config, entries = pipeline.config, []
    path, by = pipeline.of_globals(place).neighbors(config.global_).absolute(), config.global_
    lists = str(path) if pipeline.from_images else by
    for name in pipeline.rerankers:
        more = [word("neighbors", lists), word("output_dir", folder / name)]
        if config.scores is not None:
            earlier = config.scores / place.name / name / SCORES
            more += [word("scores", earlier)] if earlier.is_file() else []
        found = folder / name / shell.RESULTS
        if not found.is_file():  # of an interrupted run
            pipeline.steps(*pipeline.rerank(place, name, *more))
        results = dict(read_results(found))
        check_read(results, found, place, find_files(place, lists, stores=False))
        results["config"] = {**results["config"], "neighbors": pipeline.lists}
        entries.append(Entry(name, (str(found),), (results,)))
    metric = config.metric if config.metric in entries[0].runs[0]["global"] else None
    return compare(entries, metric=metric, seed=config.seed)[0]


def _write_tables(pipeline: Pipeline, blocks: Sequence[Block], folder: Path) -> str:
    """table.csv has every metric at full precision; table.md and the text returned, columns=."""
    notes, columns = _notes(pipeline), pipeline.config.columns
    columns = None if columns is None else shell.as_list(columns)
    listed = "\n".join(f"- {note}" for note in notes)
    markdown = f"{one_table(blocks, columns, markdown=True)}{listed}\n"
    for name, text in (("table.md", markdown), (LAST, render(blocks, "csv"))):
        with replacing(folder / name, overwrite=True) as partial:
            partial.write_text(text, encoding="utf-8")
    return "\n".join([one_table(blocks, columns), *notes])


def _notes(pipeline: Pipeline) -> list[str]:
    notes = [f"global: {pipeline.lists}"]
    notes += [f"left out: {name}: {why}" for name, why in pipeline.left_out.items()]
    rerankers = pipeline.rerankers if pipeline.reranks else []
    own = {name: getattr(pipeline.config, name) for name in rerankers}
    own = {name: r for name, r in own.items() if r.tuned is None and None not in (r.lamb, r.temp)}
    if own:
        notes.append(f"λ and γ are given, not chosen for these descriptors: {', '.join(own)}")
    unverified = [place.name for place in pipeline.places if place.dataset.unverified]
    if unverified:
        notes.append(f"{UNVERIFIED}: {', '.join(unverified)}")
    return notes
