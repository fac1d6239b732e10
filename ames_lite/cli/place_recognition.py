"""`python scripts/place_recognition.py`: sets in their official layouts in, one table out.

lists → local descriptors → vocabulary → global descriptors → neighbour lists → every reranker, with
λ and γ that were chosen elsewhere. Each step is printed as the command that it is. Files that are
complete are not made again, but are compared with what this run would make, and one that differs is
an error; results go to the run directory, which is always a new one.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

from ames_lite.cli.compose import Config
from ames_lite.cli.place_checks import Ready, check, neighbors_there, stores_to_make
from ames_lite.cli.place_plan import Command, Place, Plan, make_plan
from ames_lite.cli.place_table import block_of, write_tables
from ames_lite.cli.shell import command, refuse_used, run_dir
from ames_lite.datasets.relation import SIDES
from ames_lite.errors import ConfigError
from ames_lite.evaluation.comparison import Block
from ames_lite.io.overrides import word
from ames_lite.stores.published.store import is_published


def main(overrides: Sequence[str] | None = None) -> int:
    """The command."""
    return command("place_recognition", run, overrides)


def run(config: Config) -> list[Block]:
    """The whole job; returns the table, one block a set."""
    _refuse_processes()
    plan = make_plan(config)
    folder = _folder(plan)
    refuse_used(folder)
    ready = check(plan)
    for name, why in (plan.left_out | ready.left_out).items():
        print(f"left out: {name}: {why}")
    plan, folder = ready.plan, run_dir({**config, "output_dir": str(folder)}, "place_recognition")
    make_files(ready)
    blocks = []
    for place in plan.places:
        files = {name: _rerank(plan, place, name, folder) for name in plan.rerankers}
        blocks.append(block_of(plan, place, files))
    print(f"\n{write_tables(plan, blocks, ready.left_out, folder)}")
    print(f"tables: {folder / 'table.md'}, {folder / 'table.csv'}")
    return blocks


def make_files(ready: Ready) -> None:
    """Descriptors, vocabularies and neighbour lists of all sets: made, or compared."""
    plan, kind = ready.plan, ready.plan.config["global"]
    for place in plan.places:
        paths = [place.files.local_path(side) for side in SIDES]
        _fill(plan, plan.extract_local(place), paths, ready.local_loads)
    for vocabulary in plan.vocabularies:
        if vocabulary.path.is_file():  # compared already
            print(f"\nkept: {vocabulary.path}")
            continue
        for place in stores_to_make(vocabulary):
            plan.steps(*plan.extract_for_vocabulary(vocabulary, place))
        plan.steps(*vocabulary.command)
    for place in plan.places:
        files = plan.global_files(place)
        if not plan.with_cls:
            paths = [files.global_path(side, kind) for side in SIDES]
            loads = ready.global_loads or not plan.from_images
            _fill(plan, plan.extract_global(place), paths, loads)
        if neighbors_there(plan, place):
            print(f"\nkept: {files.neighbors(kind)}")
        else:
            plan.steps(*plan.search(place))


def _fill(plan: Plan, step: Command, paths: list[Path], loads: bool) -> None:
    """Run a stage, which continues or compares; not where there is nothing to compare with."""
    listed = ", ".join(map(str, paths))
    if any(path.is_file() and is_published(path) for path in paths):
        print(f"\ntaken as they are, of the published form: {listed}")
    elif not loads:
        print(f"\ntaken as they are, without the weights to compare: {listed}")
    else:
        plan.steps(*step)


def _rerank(plan: Plan, place: Place, name: str, folder: Path) -> Path:
    """Evaluate one reranker on one set; returns its results.json."""
    kind = plan.config["global"]
    lists = str(plan.global_files(place).neighbors(kind).absolute()) if plan.from_images else kind
    output = folder / place.folder / name
    more = [word("output_dir", output)]
    if plan.config["scores"] is not None:
        earlier = Path(plan.config["scores"]).expanduser() / place.folder / name / "scores.hdf5"
        more += [word("scores", earlier)] if earlier.is_file() else []
    plan.steps(*plan.rerank(place, name, lists, *more))
    return output / "results.json"


def _refuse_processes() -> None:
    """Stages share their work out by themselves; a run of all of them is one process."""
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise ConfigError(
            "place_recognition was started as several processes",
            expected="one process",
            remedy="run the stages that it prints under torchrun, then this: complete files stay",
        )


def _folder(plan: Plan) -> Path:
    """The run directory, by default named after the title."""
    if plan.config["output_dir"] is not None:
        return Path(plan.config["output_dir"]).expanduser()
    title = plan.config["title"] or "+".join(place.folder for place in plan.places)
    stamp = datetime.now().strftime("%Y%m%d-%H%M%S")
    return Path("runs") / f"place_recognition_{title}_{stamp}"
