"""What is there of a place_recognition run, and what is missing: found before any long work.

All missing files are reported in one message. Lists that are missing are made from the official
layouts, which is short work; images, weights of networks and heads, λ, γ and the vocabulary are
looked for. With skip_missing=true a set whose files are absent is left out; files that are there
and wrong are errors all the same, and so is a source of the vocabulary. Stores and global
descriptors are compared by the stages that fill them, vocabularies and neighbour lists here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ames_lite.cli.evaluate import ensemble_settings, numbers_of, open_scorer
from ames_lite.cli.extraction import configured_backbone
from ames_lite.cli.place_plan import Command, Place, Plan, Vocabulary
from ames_lite.cli.scoring_run import scoring_options
from ames_lite.cli.shell import as_list
from ames_lite.datasets.image_lists import read_image_list
from ames_lite.datasets.layout import find_all
from ames_lite.datasets.relation import SIDES
from ames_lite.errors import BadInput, ConfigError, MissingFile, UserError
from ames_lite.evaluation.protocols import evaluate_ranking, get_protocol
from ames_lite.evaluation.tuned import read_tuned
from ames_lite.extraction.backbones.interface import Backbone
from ames_lite.records import GroundTruth
from ames_lite.stores.descriptor_store import DescriptorStore
from ames_lite.stores.global_store import GlobalStore
from ames_lite.stores.neighbor_lists import is_pickle
from ames_lite.stores.published.store import is_published
from ames_lite.stores.reuse import check_neighbors, check_vocabulary

OF_CLUSTERING = ("num_clusters", "seed", "iterations", "distance", "unit")


class Problems:
    """Errors that a user can mend, collected."""

    def __init__(self) -> None:
        self.errors: list[UserError] = []

    def tried(self, about: str, work: Callable[..., Any], *given: Any) -> Any:
        """What work gives; None where it raises an error, which is kept."""
        try:
            return work(*given)
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
    """A plan that can be done. left_out: sets that are not there, and what is missing.

    local_loads, global_loads: whether the weights of those networks are there; if not, their files
    are complete.
    """

    plan: Plan
    left_out: dict[str, str]
    local_loads: bool
    global_loads: bool


def check(plan: Plan) -> Ready:
    """Raises one error that lists all that is missing."""
    problems, left_out = Problems(), {}
    problems.tried("columns", _check_columns, plan)
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
    backbone = _check_local_network(kept, problems)
    of_images = plan.from_images and _check_global_network(kept, problems)
    for name in plan.rerankers:
        problems.tried(name, _check_reranker, kept, name, backbone)
    problems.tried("scores", _check_scores, kept)
    problems.tell()
    return Ready(kept, left_out, backbone is not None, of_images)


# ---------------------------------------------------------------- files


def finished(path: Path, open_it: Callable[[Path], Any]) -> bool:
    """Whether a file of descriptors is there and complete, or of the published form."""
    if not path.is_file():
        return False
    try:
        if not is_published(path):
            open_it(path).close()
    except UserError:  # cut short, unfinished, foreign: the stage that fills it says so
        return False
    return True


def local_there(place: Place, side: str, desc_name: str | None = None) -> bool:
    """Whether a set's local descriptors are complete."""
    files = replace(place.files, desc_name=desc_name or place.files.desc_name)
    return finished(files.local_path(side), DescriptorStore.open)


def global_there(plan: Plan, place: Place, side: str) -> bool:
    """Whether a set's global descriptors are complete."""
    path = plan.global_files(place).global_path(side, plan.config["global"])
    return finished(path, GlobalStore)


def neighbors_there(plan: Plan, place: Place) -> bool:
    """Whether the neighbour lists are there. Raises BadInput where they are of other descriptors.

    Lists of the published form say nothing of what they were made from, and are taken as they are.
    """
    files, kind = plan.global_files(place), plan.config["global"]
    try:
        path = files.neighbors(kind)
    except MissingFile:
        return False
    if is_pickle(path):
        return True
    remedy = plan.steps.text(*plan.search(place), "overwrite=true")
    names = [read_image_list(files.image_list(side)).names for side in SIDES]
    paths = [files.global_descriptors(side, kind) for side in SIDES]
    with GlobalStore(paths[0], names=names[0]) as queries:
        with GlobalStore(paths[1], names=names[1]) as gallery:
            check_neighbors(path, queries, gallery, needed_neighbors(plan, place), remedy=remedy)
    return True


def needed_neighbors(plan: Plan, place: Place) -> int:
    """How long the neighbour lists must be, if the gallery is not shorter."""
    numbers = [get_protocol(place.dataset["protocol"]).depth]
    for name in plan.rerankers:
        path = plan.config[name]["tuned"]
        tuned = None if path is None else read_tuned(path)
        numbers += numbers_of(plan.config["num_rerank"], tuned)
    return max(numbers)


def vocabulary_there(plan: Plan, vocabulary: Vocabulary) -> bool:
    """Whether it is there. Raises BadInput where it was built otherwise."""
    if not vocabulary.path.is_file():
        return False
    config = vocabulary.config
    wanted = {
        "datasets": [place.dataset["option"] for place, _ in vocabulary.sources],
        "steps": [step for _, step in vocabulary.sources],
        **{key: config[key] for key in OF_CLUSTERING},
        **(config.get("expected") or {}),
    }
    lists = {}
    for place, _ in vocabulary.sources:
        try:
            path = place.files.image_list(vocabulary.split)
        except MissingFile:  # the vocabulary may be there without its sources
            continue
        lists[place.dataset["option"]] = read_image_list(path).names
    remedy = plan.steps.text(*vocabulary.command, "overwrite=true")
    check_vocabulary(vocabulary.path, wanted, lists, remedy=remedy)
    return True


# ---------------------------------------------------------------- checks


def _check_set(plan: Plan, place: Place) -> Problems:
    problems = Problems()
    if not problems.tried(place.name, find_lists, plan, place):
        return problems
    for side in SIDES:
        if not (local_there(place, side) and _global_of_images_there(plan, place, side)):
            problems.tried(place.name, _check_images, place, side)
    if all(global_there(plan, place, side) for side in SIDES):
        problems.tried(place.name, neighbors_there, plan, place)
    return problems


def _global_of_images_there(plan: Plan, place: Place, side: str) -> bool:
    return not plan.from_images or global_there(plan, place, side)


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
        plan.steps("prepare_set", *place.words)
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
        if problems.tried("vocabulary", vocabulary_there, plan, vocabulary) is not False:
            continue
        unmade = list(stores_to_make(vocabulary))
        for place in unmade:
            about = f"{place.name}, of which {vocabulary.path.name} is built"
            if problems.tried(about, find_lists, plan, place):
                problems.tried(about, _check_images, place, vocabulary.split)
        if unmade and vocabulary.config.get("extraction") is not None:
            command = plan.extract_for_vocabulary(vocabulary, unmade[0])
            problems.tried("vocabulary", _load, plan, command)


def stores_to_make(vocabulary: Vocabulary) -> Iterable[Place]:
    """The sources of a vocabulary whose stores are not complete."""
    for place, _ in vocabulary.sources:
        if not local_there(place, vocabulary.split, vocabulary.stores):
            yield place


def _check_local_network(plan: Plan, problems: Problems) -> Backbone | None:
    """The network of the local descriptors, where it loads."""
    there = all(local_there(place, side) for place in plan.places for side in SIDES)
    if plan.with_cls:
        there &= all(global_there(plan, place, side) for place in plan.places for side in SIDES)
    command = plan.extract_local(plan.places[0])
    backbone = _network(plan, command, there, problems, "local descriptors")
    if backbone is not None and plan.with_cls and backbone.global_kind != "cls":
        what = f"global=cls, and {plan.config['backbone']['name']} has no CLS token"
        problems.errors.append(ConfigError(what, expected="another global=, or another backbone="))
    return backbone


def _check_global_network(plan: Plan, problems: Problems) -> bool:
    """Whether the network of the global descriptors loads."""
    there = all(global_there(plan, place, side) for place in plan.places for side in SIDES)
    command = plan.extract_global(plan.places[0])
    return _network(plan, command, there, problems, "global descriptors") is not None


def _network(
    plan: Plan, command: Command, there: bool, problems: Problems, about: str
) -> Backbone | None:
    """The backbone with its weights; None where they are missing, a problem unless all is there."""
    loaded = Problems()
    backbone: Backbone | None = loaded.tried(about, _load, plan, command)
    if not (there and loaded.only_missing):
        problems.errors += loaded.errors
    return backbone


def _load(plan: Plan, command: Command) -> Backbone:
    backbone = configured_backbone(plan.steps.config(*command))
    _ = backbone.provenance  # loads the weights
    return backbone


def _check_reranker(plan: Plan, name: str, backbone: Backbone | None) -> None:
    """Raises where its weights, λ or γ are missing, or where it is for other descriptors."""
    config = plan.steps.config(*plan.rerank(plan.places[0], name, "vlad"))
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
