"""`python scripts/place_recognition.py`: datasets in their official layouts in, one table out.

lists → local descriptors → vocabulary → global descriptors → neighbour lists → every reranker, with
λ and γ that were chosen elsewhere. Each step is printed as the command that it is. Files that are
complete are not made again, but are compared with what this run would make, and one that differs is
an error; results go to the run directory, which is always a new one.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from ames_lite.cli.compose import Config
from ames_lite.cli.place_checks import check, neighbors_there, stores_to_make
from ames_lite.cli.place_plan import Place, Plan, make_plan
from ames_lite.cli.prepare_set import UNVERIFIED
from ames_lite.cli.shell import as_list, command, refuse_used, run_dir, stamped_dir
from ames_lite.datasets.relation import SIDES
from ames_lite.errors import ConfigError
from ames_lite.evaluation.comparison import Block, Entry, compare
from ames_lite.evaluation.comparison_table import one_table, render
from ames_lite.evaluation.results_file import read_results
from ames_lite.io.overrides import word
from ames_lite.stores.published.store import is_published


def main(overrides: Sequence[str] | None = None) -> int:
    """The command."""
    return command("place_recognition", run, overrides)


def run(config: Config) -> list[Block]:
    """The whole job; returns the table, one block a dataset."""
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:  # stages share their work out by themselves
        raise ConfigError(
            "place_recognition was started as several processes",
            expected="one process",
            remedy="run the stages that it prints under torchrun, then this: complete files stay",
        )
    plan = make_plan(config)
    title = config["title"] or "+".join(place.name for place in plan.places)
    folder = Path(config["output_dir"] or stamped_dir(f"place_recognition_{title}")).expanduser()
    refuse_used(folder)
    plan = check(plan)
    for name, why in plan.left_out.items():
        print(f"left out: {name}: {why}")
    run_dir({**config, "output_dir": str(folder)}, "place_recognition")
    make_files(plan)
    blocks = [_rerank(plan, place, folder / place.name) for place in plan.places]
    print(f"\n{_write_tables(plan, blocks, folder)}")
    print(f"tables: {folder / 'table.md'}, {folder / 'table.csv'}")
    return blocks


def make_files(plan: Plan) -> None:
    """Descriptors, vocabularies and neighbour lists of all datasets: made, or compared."""
    for place in plan.places:
        _fill(plan, place, "local")
    for vocabulary in plan.vocabularies:
        if not vocabulary.command:
            continue
        if vocabulary.path.is_file():  # compared already
            print(f"\nkept: {vocabulary.path}")
            continue
        for place in stores_to_make(vocabulary):
            plan.steps(*plan.extract_for_vocabulary(vocabulary, place))
        plan.steps(*vocabulary.command)
    for place in plan.places:
        if not plan.with_cls:
            _fill(plan, place, "global")
        if neighbors_there(plan, place):
            print(f"\nkept: {place.globals.neighbors(plan.config['global'])}")
        else:
            plan.steps(*plan.search(place))


def _fill(plan: Plan, place: Place, kind: str) -> None:
    """Run a stage, which continues or compares; not where there is nothing to compare with."""
    if kind == "local":
        paths = [place.files.local_path(side) for side in SIDES]
    else:
        paths = [place.globals.global_path(side, plan.config["global"]) for side in SIDES]
    listed = ", ".join(map(str, paths))
    if any(path.is_file() and is_published(path) for path in paths):
        print(f"\ntaken as they are, of the published form: {listed}")
    elif kind in plan.unloadable:
        print(f"\ntaken as they are, without the weights to compare: {listed}")
    else:
        stage = plan.extract_local if kind == "local" else plan.extract_global
        plan.steps(*stage(place))


def _rerank(plan: Plan, place: Place, folder: Path) -> Block:
    """Evaluate every reranker on a dataset; returns its lines of the table."""
    kind, scores = plan.config["global"], plan.config["scores"]
    lists = str(place.globals.neighbors(kind).absolute()) if plan.from_images else kind
    entries = []
    for name in plan.rerankers:
        more = [word("output_dir", folder / name)]
        if scores is not None:
            earlier = Path(scores).expanduser() / place.name / name / "scores.hdf5"
            more += [word("scores", earlier)] if earlier.is_file() else []
        plan.steps(*plan.rerank(place, name, lists, *more))
        path = folder / name / "results.json"
        results = dict(read_results(path))
        results["config"] = {**results["config"], "neighbors": _lists_of(place, kind)}
        entries.append(Entry(name, (str(path),), (results,)))
    metric = plan.config["metric"]
    metric = metric if metric in entries[0].runs[0]["global"] else None
    return compare(entries, metric=metric, seed=plan.config["seed"])[0]


def _lists_of(place: Place, kind: str) -> str:
    """What the neighbour lists are by, in place of a path."""
    return f"{kind} of {place.globals.desc_name}"


def _write_tables(plan: Plan, blocks: Sequence[Block], folder: Path) -> str:
    """table.csv has every metric at full precision; table.md and the text returned, columns=."""
    notes = _notes(plan)
    columns = None if plan.config["columns"] is None else as_list(plan.config["columns"])
    markdown = one_table(blocks, columns, markdown=True)
    listed = "\n".join(f"- {note}" for note in notes)
    (folder / "table.md").write_text(f"{markdown}{listed}\n", encoding="utf-8")
    (folder / "table.csv").write_text(render(blocks, "csv"), encoding="utf-8")
    return "\n".join([one_table(blocks, columns), *notes])


def _notes(plan: Plan) -> list[str]:
    """What a reader must know beside the metrics."""
    notes = [f"global: {_lists_of(plan.places[0], plan.config['global'])}"]
    notes += [f"left out: {name}: {why}" for name, why in plan.left_out.items()]
    own = {name: plan.config[name] for name in plan.rerankers}
    given = [
        name
        for name, one in own.items()
        if one["tuned"] is None and None not in (one["lamb"], one["temp"])
    ]
    if given:
        notes.append(f"λ and γ are given, not chosen for these descriptors: {', '.join(given)}")
    unverified = [place.name for place in plan.places if place.dataset.get("unverified")]
    if unverified:
        notes.append(f"{UNVERIFIED}: {', '.join(unverified)}")
    return notes
