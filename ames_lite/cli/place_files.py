"""Which files of a place_recognition run are there, and whether they are those that it would make.

In: the plan and a set. Out: yes or no, or an error that names both values. The convention to know:
stores and global descriptors are checked by the stages that fill them, which compare all of their
provenance; vocabularies and neighbour lists, which no stage continues, are checked here.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from ames_lite.cli import place_commands as commands
from ames_lite.cli.evaluate import numbers_of
from ames_lite.cli.place_plan import Place, Plan, VocabularyPlan
from ames_lite.datasets.image_lists import read_image_list
from ames_lite.errors import MissingFile, UserError
from ames_lite.evaluation.protocols import get_protocol
from ames_lite.evaluation.tuned import read_tuned
from ames_lite.stores.descriptor_store import DescriptorStore
from ames_lite.stores.global_store import GlobalStore
from ames_lite.stores.neighbor_lists import is_pickle
from ames_lite.stores.published.store import is_published
from ames_lite.stores.reuse import check_neighbors, check_vocabulary

SIDES = ("query", "gallery")
OF_CLUSTERING = ("num_clusters", "seed", "iterations", "distance", "unit")


def finished(path: Path, open_it: Callable[[Path], Any]) -> bool:
    """Whether a file of descriptors is there and complete, or of the published form."""
    if not path.is_file():
        return False
    try:
        if not is_published(path):
            open_it(path).close()
    except UserError:  # cut short, unfinished, foreign: whoever fills it says so
        return False
    return True


def local_there(place: Place, side: str, desc_name: str | None = None) -> bool:
    """Whether a set's local descriptors are complete."""
    name = place.files.desc_name if desc_name is None else desc_name
    path = replace(place.files, desc_name=name).local_path(side)
    return finished(path, DescriptorStore.open)


def global_there(plan: Plan, place: Place, side: str) -> bool:
    """Whether a set's global descriptors are complete."""
    path = plan.global_files(place).global_path(side, plan.config["global"])
    return finished(path, GlobalStore)


def published(paths: list[Path]) -> bool:
    """Whether any of the files that are there came from elsewhere, in the published form."""
    return any(path.is_file() and is_published(path) for path in paths)


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
    names = [read_image_list(files.image_list(side)).names for side in SIDES]
    remedy = f"{commands.search(plan, place).text} overwrite=true"
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


def vocabulary_there(vocabulary: VocabularyPlan) -> bool:
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
    remedy = f"{commands.build_vocabulary(vocabulary).text} overwrite=true"
    check_vocabulary(vocabulary.path, wanted, lists, remedy=remedy)
    return True
