"""What a run of place_recognition lacks, found before any long work and said in one message.

In: the plan. Out: what can be done of it. Lists that are missing are made from the official
layouts, which is short work; images, weights of networks and heads, λ, γ and the vocabulary are
looked for. The convention to know: with skip_missing=true a set whose files are absent is left out;
files that are there and wrong are errors all the same, and so is a source of the vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ames_lite.cli import place_commands as commands
from ames_lite.cli.evaluate import ensemble_settings, numbers_of, open_scorer
from ames_lite.cli.extraction import configured_backbone
from ames_lite.cli.place_commands import Command
from ames_lite.cli.place_files import (
    SIDES,
    global_there,
    local_there,
    neighbors_there,
    vocabulary_there,
)
from ames_lite.cli.place_plan import Place, Plan
from ames_lite.cli.scoring_run import scoring_options
from ames_lite.cli.shell import as_list
from ames_lite.datasets.image_lists import read_image_list
from ames_lite.datasets.layout import find_all
from ames_lite.errors import BadInput, ConfigError, MissingFile, UserError
from ames_lite.evaluation.protocols import evaluate_ranking, get_protocol
from ames_lite.evaluation.tuned import read_tuned
from ames_lite.extraction.backbones.interface import Backbone
from ames_lite.records import GroundTruth


class Problems:
    """Errors that a user can mend, collected."""

    def __init__(self) -> None:
        self.errors: list[UserError] = []

    def tried(self, about: str, work: Callable[[], Any]) -> Any:
        """What work gives; None where it raises an error, which is kept."""
        try:
            return work()
        except UserError as error:
            self.errors.append(type(error)(f"{about}: {error}"))
            return None

    @property
    def only_missing(self) -> bool:
        """Whether nothing is wrong with what is there."""
        return all(isinstance(error, MissingFile) for error in self.errors)

    def tell(self) -> None:
        """Raises one error of all."""
        if self.errors:
            kind = MissingFile if self.only_missing else BadInput
            raise kind("\n".join(dict.fromkeys(str(error) for error in self.errors)))


@dataclass(frozen=True, eq=False)
class Ready:
    """A plan that can be done. left_out: sets that are not there, and what lacks.

    local_loads, global_loads: whether the weights of those networks are there; if not, their files
    are complete.
    """

    plan: Plan
    left_out: dict[str, str]
    local_loads: bool
    global_loads: bool


def check(plan: Plan) -> Ready:
    """Raises one error that lists all that lacks."""
    problems, left_out = Problems(), {}
    problems.tried("columns", partial(_check_columns, plan))
    for place in plan.places:
        of_set = _check_set(plan, place)
        if of_set.errors and of_set.only_missing and plan.config["skip_missing"]:
            left_out[place.name] = " ".join(str(of_set.errors[0]).split("\n")[:2])
        else:
            problems.errors += of_set.errors
    kept = plan.keeping([place for place in plan.places if place.name not in left_out])
    if plan.places and not kept.places:
        raise MissingFile("\n".join(["none of the sets is there:", *left_out.values()]))
    _check_vocabularies(kept, problems)
    local, backbone = _check_local_network(kept, problems)
    found = Ready(kept, left_out, local, _check_global_network(kept, problems))
    for name in plan.rerankers:
        problems.tried(name, partial(_check_reranker, kept, name, backbone))
    problems.tried("scores", partial(_check_scores, kept))
    problems.tell()
    return found


def _check_set(plan: Plan, place: Place) -> Problems:
    problems = Problems()
    if not problems.tried(place.name, partial(find_lists, plan, place)):
        return problems
    sides = [side for side in SIDES if not local_there(place, side)]
    if plan.from_images:
        sides += [side for side in SIDES if not global_there(plan, place, side)]
    for side in dict.fromkeys(sides):
        problems.tried(place.name, partial(_check_images, place, side))
    if all(global_there(plan, place, side) for side in SIDES):
        problems.tried(place.name, partial(neighbors_there, plan, place))
    return problems


def find_lists(plan: Plan, place: Place) -> bool:
    """Image lists and ground truth, made from the official layout where they are missing."""
    needed: dict[str, Callable[[], Path]] = {
        side: partial(place.files.image_list, side) for side in SIDES
    }
    try:
        find_all({**needed, "ground truth": place.files.ground_truth})
    except MissingFile:
        if not place.dataset.get("reader"):  # nothing makes them
            raise
        commands.prepare_lists(plan, place).run()
    return True


def _check_images(place: Place, side: str) -> None:
    path, root = place.files.image_list(side), place.files.image_root
    names = read_image_list(path).names
    absent = [name for name in names if not (root / name).is_file()]
    if absent:
        raise MissingFile(
            f"{len(absent)} of {len(names)} {side} images are missing, the first is '{absent[0]}'",
            where=root,
            expected=f"every image of {path}",
            remedy=place.files.page,
        )


def _check_vocabularies(plan: Plan, problems: Problems) -> None:
    for given in {one for one in plan.vocabulary.values() if isinstance(one, Path)}:
        if not given.is_file():
            problems.errors.append(MissingFile("missing: the vocabulary", where=given))
    for vocabulary in plan.vocabularies:
        if problems.tried("vocabulary", partial(vocabulary_there, vocabulary)) is not False:
            continue
        for place, _ in vocabulary.sources:
            about = f"{place.name}, of which {vocabulary.path.name} is built"
            if local_there(place, vocabulary.split, vocabulary.stores):
                continue
            if problems.tried(about, partial(find_lists, plan, place)):
                problems.tried(about, partial(_check_images, place, vocabulary.split))
        _check_vocabulary_network(plan, problems)


def _check_vocabulary_network(plan: Plan, problems: Problems) -> None:
    """The network of stores that are still to be made, where the vocabulary has one of its own."""
    for vocabulary in plan.vocabularies:
        if vocabulary.extraction is None or vocabulary.path.is_file():
            continue
        for place, _ in vocabulary.sources:
            if not local_there(place, vocabulary.split, vocabulary.stores):
                command = commands.extract_for_vocabulary(plan, vocabulary, place)
                problems.tried("vocabulary", partial(_load, command))
                return


def _check_local_network(plan: Plan, problems: Problems) -> tuple[bool, Backbone | None]:
    """Whether it loads, and then it."""
    there = all(local_there(place, side) for place in plan.places for side in SIDES)
    kind = plan.config["global"]
    if kind == "cls" and not plan.from_images:
        there &= all(global_there(plan, place, side) for place in plan.places for side in SIDES)
    command = commands.extract_local(plan, plan.places[0])
    backbone = _network(command, there, problems, "local descriptors")
    if backbone is None:
        return False, None
    if kind == "cls" and not plan.from_images and backbone.global_kind != "cls":
        name = plan.config["backbone"]["name"]
        what = f"global=cls, and {name} has no CLS token"
        problems.errors.append(ConfigError(what, expected="another global=, or another backbone="))
    return True, backbone


def _check_global_network(plan: Plan, problems: Problems) -> bool:
    if not plan.from_images:
        return False
    there = all(global_there(plan, place, side) for place in plan.places for side in SIDES)
    command = problems.tried(
        "global descriptors", partial(commands.extract_global, plan, plan.places[0])
    )
    return _network(command, there, problems, "global descriptors") is not None


def _network(command: Command, there: bool, problems: Problems, about: str) -> Any:
    """The backbone with its weights; None where they lack, which is a problem if it has work."""
    if not there:
        return problems.tried(about, partial(_load, command))
    try:
        return _load(command)
    except MissingFile:
        return None


def _load(command: Command) -> Any:
    backbone = configured_backbone(command.config())
    _ = backbone.provenance  # loads the weights
    return backbone


def _check_reranker(plan: Plan, name: str, backbone: Backbone | None) -> None:
    """Raises where its weights, λ or γ lack, or where it is for other descriptors."""
    config = commands.rerank(plan, plan.places[0], name, "vlad", {}).config()
    scoring_options(config, torch.device("cpu"))
    tuned = None if config["tuned"] is None else read_tuned(config["tuned"])
    numbers_of(config["num_rerank"], tuned)
    scorer, meta = open_scorer(config)
    if tuned is not None:
        tuned.check(scorer.name, scorer.digest, config["tuned"])
    ensemble_settings(config, meta, tuned)
    if backbone is None:
        return
    wants, width = scorer.arguments.get("dim_in"), backbone.dim
    if wants not in (None, width):
        raise BadInput(
            f"the head takes descriptors of width {wants}, {config['desc_name']} has {width}",
            where=config["weights"],
            expected="a head that was trained on these descriptors",
        )
    if scorer.check is not None:
        scorer.check(backbone.provenance, "this run")


def _check_columns(plan: Plan) -> None:
    """Raises ConfigError for columns that no set has."""
    known: set[str] = set()
    for place in plan.places:
        protocol = get_protocol(place.dataset["protocol"])
        right, none = (np.zeros(1, np.int64),), (np.zeros(0, np.int64),)
        truth = GroundTruth(("q",), ("g",), right, none, none, (None,), protocol.graded)
        known |= evaluate_ranking(np.zeros((1, 1), np.int32), truth, protocol).metrics.keys()
    for key in ("columns", "metric"):
        asked = as_list(plan.config[key] or [])
        unknown = [name for name in asked if name not in known]
        if unknown:
            what = f"{key}={plan.config[key]}: no set has '{unknown[0]}'"
            raise ConfigError(what, expected=f"some of {', '.join(sorted(known))}")


def _check_scores(plan: Plan) -> None:
    given = plan.config["scores"]
    if given is not None and not (Path(given).expanduser() / "config.json").is_file():
        raise MissingFile(
            "missing: the earlier run", where=given, expected="a run directory of this command"
        )
