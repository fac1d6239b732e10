"""`python scripts/place_recognition.py`: sets in their official layouts in, one table out.

lists → local descriptors → vocabulary → global descriptors → neighbour lists → every reranker, with
λ and γ that were chosen elsewhere. Each step is the command that a user would give, and is printed
as such. The convention to know: files that are complete are not made again, but are compared with
what this run would make, and one that differs is an error; results go to the run directory, which
is always a new one.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

from ames_lite.cli import place_commands as commands
from ames_lite.cli.compose import Config
from ames_lite.cli.place_checks import Ready, check
from ames_lite.cli.place_commands import Command
from ames_lite.cli.place_files import SIDES, local_there, neighbors_there, published
from ames_lite.cli.place_plan import Place, Plan, make_plan
from ames_lite.cli.place_table import block_of, write_tables
from ames_lite.cli.shell import command, refuse_used, run_dir
from ames_lite.errors import ConfigError
from ames_lite.evaluation.comparison import Block


def main(overrides: Sequence[str] | None = None) -> int:
    """The command."""
    return command("place_recognition", run, overrides)


def run(config: Config) -> list[Block]:
    """The whole job; returns the table, one block a set."""
    _refuse_processes()
    plan = make_plan(config)
    for name, why in plan.left_out.items():
        print(f"left out: {name}: {why}")
    folder = _folder(plan)
    refuse_used(folder)
    ready = check(plan)
    for name, why in ready.left_out.items():
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
    plan = ready.plan
    for place in plan.places:
        paths = [place.files.local_path(side) for side in SIDES]
        _fill(commands.extract_local(plan, place), paths, ready.local_loads)
    for vocabulary in plan.vocabularies:
        if vocabulary.path.is_file():  # compared already
            print(f"\nkept: {vocabulary.path}")
            continue
        for place, _ in vocabulary.sources:
            if not local_there(place, vocabulary.split, vocabulary.stores):
                commands.extract_for_vocabulary(plan, vocabulary, place).run()
        commands.build_vocabulary(vocabulary).run()
    kind = plan.config["global"]
    for place in plan.places:
        if plan.from_images or kind != "cls":
            paths = [plan.global_files(place).global_path(side, kind) for side in SIDES]
            loads = ready.global_loads or not plan.from_images
            _fill(commands.extract_global(plan, place), paths, loads)
        if neighbors_there(plan, place):
            print(f"\nkept: {plan.global_files(place).neighbors(kind)}")
        else:
            commands.search(plan, place).run()


def _fill(step: Command, paths: list[Path], loads: bool) -> None:
    """Run a stage, which continues or compares; not where there is nothing to compare with."""
    if published(paths):
        print(f"\ntaken as they are, of the published form: {', '.join(map(str, paths))}")
    elif not loads:
        print(f"\ntaken as they are, without the weights to compare: {', '.join(map(str, paths))}")
    else:
        step.run()


def _rerank(plan: Plan, place: Place, name: str, folder: Path) -> Path:
    """Evaluate one reranker on one set; returns its results.json."""
    kind = plan.config["global"]
    lists = str(plan.global_files(place).neighbors(kind).absolute()) if plan.from_images else kind
    output = folder / place.folder / name
    more = {"output_dir": str(output)}
    if plan.config["scores"] is not None:
        earlier = Path(plan.config["scores"]).expanduser() / place.folder / name / "scores.hdf5"
        more |= {"scores": str(earlier)} if earlier.is_file() else {}
    commands.rerank(plan, place, name, lists, more).run()
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
