"""Everything that is missing for a place_recognition run, in one message before any long work.

Lists that are missing are made from the official layouts, which is short work; images, weights of
networks and heads, λ, γ and the vocabulary are looked for. With skip_missing=true a dataset whose
files are absent is left out; files that are there and wrong are errors all the same. Stores and
global descriptors are compared by the stages that fill them, vocabularies and neighbour lists here.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
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
from ames_lite.datasets.layout import DatasetFiles, find_all
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


def check(plan: Plan) -> Plan:
    """The plan of the datasets that are there. Raises one error that lists all that is missing."""
    problems, absent = Problems(), {}
    problems.tried("columns", _check_columns, plan)
    for place in plan.places:
        of_set = _check_set(plan, place)
        if of_set.errors and of_set.only_missing and plan.config["skip_missing"]:
            absent[place.name] = " ".join(str(of_set.errors[0]).split("\n")[:2])
        else:
            problems.errors += of_set.errors
    places = tuple(place for place in plan.places if place.name not in absent)
    if not places:
        raise MissingFile("\n".join(["none of the sets is there:", *absent.values()]))
    plan = replace(plan, places=places, left_out=plan.left_out | absent)
    for vocabulary in plan.vocabularies:
        _check_vocabulary(plan, vocabulary, problems)
    networks = _check_networks(plan, problems)
    for name in plan.rerankers:
        problems.tried(name, _check_reranker, plan, name, networks["local"])
    problems.tried("scores", _check_scores, plan)
    problems.tell()
    return replace(plan, unloadable=tuple(name for name, one in networks.items() if one is None))


def is_complete(files: DatasetFiles, side: str, kind: str | None = None) -> bool:
    """Whether descriptors (kind None: local) are there and complete, or of the published form."""
    path = files.local_path(side) if kind is None else files.global_path(side, kind)
    if not path.is_file():
        return False
    try:
        if not is_published(path):
            (DescriptorStore if kind is None else GlobalStore)(path).close()
    except UserError:  # cut short, unfinished, foreign: the stage that fills it says so
        return False
    return True


def neighbors_there(plan: Plan, place: Place) -> bool:
    """Whether the neighbour lists are there. Raises BadInput where they are of other descriptors.

    Lists of the published form say nothing of what they were made from, and are taken as they are.
    """
    files, kind = place.globals, plan.config["global"]
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
            check_neighbors(path, queries, gallery, _needed_neighbors(plan, place), remedy=remedy)
    return True


def _needed_neighbors(plan: Plan, place: Place) -> int:
    """How long the neighbour lists must be, if the gallery is not shorter."""
    numbers = [get_protocol(place.dataset["protocol"]).depth]
    for name in plan.rerankers:
        path = plan.config[name]["tuned"]
        tuned = None if path is None else read_tuned(path)
        numbers += numbers_of(plan.config["num_rerank"], tuned)
    return max(numbers)


def stores_to_make(vocabulary: Vocabulary) -> list[Place]:
    """The sources of a vocabulary whose stores are not complete."""
    split, desc_name = vocabulary.split, vocabulary.stores
    return [
        place
        for place, _ in vocabulary.sources
        if not is_complete(replace(place.files, desc_name=desc_name), split)
    ]


def _check_set(plan: Plan, place: Place) -> Problems:
    problems, kind = Problems(), plan.config["global"]
    if not problems.tried(place.name, _find_lists, plan, place):
        return problems
    there = {side: is_complete(place.globals, side, kind) for side in SIDES}
    for side in SIDES:
        images_used = not is_complete(place.files, side) or (plan.from_images and not there[side])
        if images_used:
            problems.tried(place.name, _check_images, place, side)
    if all(there.values()):
        problems.tried(place.name, neighbors_there, plan, place)
    return problems


def _find_lists(plan: Plan, place: Place) -> bool:
    """Image lists and ground truth, made from the official layout where they are missing."""
    needed = {side: partial(place.files.image_list, side) for side in SIDES}
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


def _check_vocabulary(plan: Plan, vocabulary: Vocabulary, problems: Problems) -> None:
    """Its file, or else all that it is built from."""
    if not vocabulary.command:
        if not vocabulary.path.is_file():
            error = MissingFile("missing: the vocabulary", where=vocabulary.path)
            problems.errors.append(error)
        return
    if vocabulary.path.is_file():
        problems.tried("vocabulary", _check_built, plan, vocabulary)
        return
    unmade = stores_to_make(vocabulary)
    for place in unmade:
        about = f"{place.name}, of which {vocabulary.path.name} is built"
        if problems.tried(about, _find_lists, plan, place):
            problems.tried(about, _check_images, place, vocabulary.split)
    if unmade and vocabulary.config.get("extraction") is not None:
        problems.tried(
            "vocabulary", _load, plan, plan.extract_for_vocabulary(vocabulary, unmade[0])
        )


def _check_built(plan: Plan, vocabulary: Vocabulary) -> None:
    """Raises BadInput where a vocabulary was built otherwise."""
    config, lists = vocabulary.config, {}
    wanted = {
        "datasets": [place.files.option for place, _ in vocabulary.sources],
        "steps": [step for _, step in vocabulary.sources],
        **{key: config[key] for key in OF_CLUSTERING},
        **(config.get("expected") or {}),
    }
    for place, _ in vocabulary.sources:
        try:
            path = place.files.image_list(vocabulary.split)
        except MissingFile:  # the vocabulary may be there without its sources
            continue
        lists[place.files.option] = read_image_list(path).names
    remedy = plan.steps.text(*vocabulary.command, "overwrite=true")
    check_vocabulary(vocabulary.path, wanted, lists, remedy=remedy)


def _check_networks(plan: Plan, problems: Problems) -> dict[str, Backbone | None]:
    """The networks of both kinds of descriptors that load; a problem unless all files are there."""
    first, kind = plan.places[0], plan.config["global"]
    sides = [(place, side) for place in plan.places for side in SIDES]
    local = all(is_complete(place.files, side) for place, side in sides)
    globals_ = all(is_complete(place.globals, side, kind) for place, side in sides)
    local &= globals_ or not plan.with_cls
    found = {"local": _network(plan, plan.extract_local(first), local, problems, "local")}
    if plan.from_images:
        command = plan.extract_global(first)
        found["global"] = _network(plan, command, globals_, problems, "global")
    backbone = found["local"]
    if backbone is not None and plan.with_cls and backbone.global_kind != "cls":
        what = f"global=cls, and {plan.config['backbone']['name']} has no CLS token"
        problems.errors.append(ConfigError(what, expected="another global=, or another backbone="))
    return found


def _network(
    plan: Plan, command: Command, there: bool, problems: Problems, about: str
) -> Backbone | None:
    loaded = Problems()
    backbone: Backbone | None = loaded.tried(f"{about} descriptors", _load, plan, command)
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
    """Raises ConfigError for columns that no dataset has."""
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
