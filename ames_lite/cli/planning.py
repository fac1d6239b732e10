"""`plan=true`, or `ames plan <command> …`: what a stage would take, worked out from a probe.
Nothing is written. Seconds hold for this machine as busy as it is now.
"""

import math
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import torch

from ames_lite.cli import evaluate, probes, train
from ames_lite.cli.extract_descriptors import outputs_of
from ames_lite.cli.extract_globals import OF_IMAGES, source_of
from ames_lite.cli.extraction import configured_backbone, find_lists
from ames_lite.cli.place_recognition import make_lists
from ames_lite.cli.place_stages import Command, Pipeline, Stage
from ames_lite.cli.schema.evaluation import Evaluate, PlaceRecognition, Train
from ames_lite.cli.schema.extraction import ExtractDescriptors, ExtractGlobals, PrepareTopkGlobal
from ames_lite.cli.scoring_run import scoring_options, settled
from ames_lite.cli.shell import chosen_splits, data_root, dataset_files, print_table, protocol_of
from ames_lite.datasets.layout import find_all
from ames_lite.datasets.relation import SIDES
from ames_lite.errors import BadInput, check_config
from ames_lite.evaluation.passes import pairs_to_score
from ames_lite.extraction.backbones.interface import Backbone
from ames_lite.extraction.descriptors import BinaryCode
from ames_lite.models import build_head
from ames_lite.processes import ALONE
from ames_lite.runtime import pick_device
from ames_lite.stores import row_layout
from ames_lite.stores.global_store import GlobalStore
from ames_lite.stores.row_layout import globals_layout, num_bytes, say_bytes, store_layout

Names = Sequence[str]
Size = Callable[[Names], int]  # bytes of what is written of these images
PROBED_ROWS = 1024  # of global descriptors that are read
VLAD_CLUSTERS = 32  # where no vocabulary says otherwise
ADVICE = (
    "a smaller variant (backbone=dinov2_vitb14, or vits14)",
    "precision=bf16 (half the weights' memory; fp16 on a GPU)",
    "half the side of the images (backbone.arguments.image_size=): a quarter of the tokens",
    "backbone.arguments.method=center_crop with a smaller image_size",
)
ADVICE_DISK = (
    "fewer descriptors (backbone.arguments.top_k=), packed bits (binarization=), or another disk "
    "(data_root=)"
)


@dataclass(frozen=True)
class Need:
    """A stage; seconds None: not known. disk: bytes that are written; memory, device: MiB."""

    stage: str
    work: str  # how much there is to do
    seconds: float | None
    disk: int
    memory: float = 0.0
    device: float = 0.0
    notes: Sequence[str] = ()
    dim: int = 0  # of the global descriptors that it makes


def plan(name: str, config: Any) -> list[Need]:
    """Work out and print what a command would take; returns it by stage."""
    try:
        needs = PLANS[name](config)
    except torch.cuda.OutOfMemoryError as error:
        what = "the GPU's memory does not hold two images and the network"
        raise BadInput(what, expected="; or ".join(ADVICE)) from error
    rows: list[list[object]] = []
    for one in needs:
        held = (f"{mib:.0f} MiB" if mib else "-" for mib in (one.memory, one.device))
        rows.append([one.stage, one.work, _time(one.seconds), say_bytes(one.disk), *held])
    print_table(["plan", "work", "time", "disk", "memory", "GPU"], rows)
    for note in dict.fromkeys(note for one in needs for note in one.notes if note):
        print(note)
    for sentence in _fits(needs, data_root(config)):
        print(sentence)
    return needs


def _time(seconds: float | None) -> str:
    if seconds is None:
        return "-"
    return f"{seconds:.2f} s" if seconds < 60 else str(timedelta(seconds=round(seconds)))


def _fits(needs: Sequence[Need], root: Path) -> list[str]:
    """Whether disk and memory are enough, and what helps where they are not."""
    disk, free = sum(one.disk for one in needs), row_layout.free_bytes(root / "x")
    said = [f"disk: {say_bytes(disk)} of {say_bytes(free)} free at {root}"]
    if disk > free:
        said.append(f"it does not fit the disk: {ADVICE_DISK}")
    both = {"memory": machine_mib()}
    if torch.cuda.is_available():
        both["device"] = torch.cuda.get_device_properties(0).total_memory / 2**20
    needed = {key: max(getattr(one, key) for one in needs) for key in both}
    said += [f"{key}: {needed[key]:.0f} of {has:.0f} MiB" for key, has in both.items()]
    if any(needed[key] > has for key, has in both.items()):
        said.append("it does not fit the memory: " + "; or ".join(ADVICE))
    return said


def machine_mib() -> float:
    """Of all memory; infinite where the system does not say it (Windows)."""
    if not hasattr(os, "sysconf"):
        return math.inf
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**20


def _extraction(config: ExtractDescriptors) -> list[Need]:
    backbone = configured_backbone(config.backbone, config)
    outputs, code = outputs_of(config, backbone), config.binarization
    dim = backbone.global_dim if "global" in outputs else 0
    form = (backbone.dim, "float16") if code is None else (BinaryCode.load(code).bits, "uint8")

    def size(names: Names) -> int:
        top_k = int(backbone.provenance["top_k"])
        local = num_bytes(store_layout(names, top_k, *form)) if "local" in outputs else 0
        return local + (num_bytes(globals_layout(names, dim)) if dim else 0)

    return _images(config, backbone, size, dim)


def _globals(config: ExtractGlobals) -> list[Need]:
    source, expected = source_of(config), "source=images or network"
    what = f"a plan of global descriptors with source={source}"
    check_config(source in OF_IMAGES, what, expected)
    backbone = configured_backbone(config.backbone, config)
    clusters = VLAD_CLUSTERS if config.global_ == "vlad" else 1
    dim = backbone.global_dim if source == "network" else backbone.dim * clusters
    return _images(config, backbone, lambda names: num_bytes(globals_layout(names, dim)), dim)


def _images(
    config: ExtractDescriptors | ExtractGlobals, backbone: Backbone, size: Size, dim: int
) -> list[Need]:
    """Stages that describe images; the network is loaded once, for the first. size: bytes."""
    files, splits = dataset_files(config), chosen_splits(config)
    find_lists(files, splits)
    lists = {split: files.names(split) for split in splits}
    root = config.images or files.image_root
    probe, said = probes.probe_images(backbone, root, lists[splits[0]], config.workers)
    needs, once = [], probe.once
    times = 1 + getattr(config, "flip", False)  # the mirror image too
    for split, names in lists.items():
        seconds, once = once + len(names) * probe.each * times, 0.0
        about = f"extraction, {split}", f"{len(names)} images", seconds, size(names)
        needs.append(Need(*about, probe.memory, probe.device, [said], dim))
    return needs


def _knn(config: PrepareTopkGlobal) -> list[Need]:
    files, kind = dataset_files(config), config.global_
    what = "a plan of neighbour lists is of the exact search"
    check_config(config.index == "flat" and config.lists is None, what, "index=flat, no lists=")
    sides = ("train", "train") if config.self_search else ("query", "gallery")
    paths = find_all({side: partial(files.global_descriptors, side, kind) for side in sides})
    reading, sizes = 0.0, []
    for side in sides:
        with GlobalStore(paths[side]) as store:
            few = min(len(store), PROBED_ROWS)
            reading += probes.timed(partial(store.read, 0, few)) * len(store) / few
            sizes.append((len(store), store.dim))
    (queries, dim), (gallery, _) = sizes
    need = _search(queries, gallery, dim, config.num_neighbors, config.device)
    return [replace(need, seconds=(need.seconds or 0) + reading)]


def _search(queries: int, gallery: int, dim: int, neighbors: int, device: str) -> Need:
    k, where = min(neighbors, gallery), "cuda" if pick_device(device).type == "cuda" else "cpu"
    _, seconds, memory, card = probes.probe_knn(queries, gallery, dim, k, where)
    work = f"{queries} x {gallery}, {dim}-d"
    return Need("neighbours (kNN)", work, seconds, 8 * queries * k, memory, card)


def _training(config: Train) -> list[Need]:
    files, device = dataset_files(config), pick_device(config.device)
    recipe = replace(train.recipe_of(config), precision=settled(config, device).precision)
    few = replace(recipe, batch_size=min(recipe.batch_size, probes.PROBED_TRIPLETS), accumulate=1)
    found = train.find_training(files, config.neighbors, None)
    store, sampler = train.open_training_set(found, few)
    head = build_head(config.model.name, **config.model.arguments, dim_in=store.dim)
    probe = probes.probe_steps(head, store, sampler, recipe, device)
    steps = -(-len(sampler.anchors) // recipe.batch_size) * recipe.epochs
    weights = 4 * sum(one.numel() for one in head.parameters())
    disk = weights * (recipe.epochs + 1 + 3)  # a head an epoch, the last, and the checkpoint
    work = f"{steps} steps of {recipe.batch_size} triplets"
    notes = ["training: without the validation after each epoch"] * (config.val_dataset is not None)
    seconds = probe.once + steps * probe.each
    return [Need("training", work, seconds, disk, probe.memory, probe.device, notes)]


def _scoring(config: Evaluate) -> list[Need]:
    numbers, scorer, _ = evaluate.check(config)
    files, device = dataset_files(config), pick_device(config.device)
    config = settled(config, device)
    options = scoring_options(config, device, config.query_desc_num, config.gallery_desc_num)
    data, numbers = evaluate.open_data(files, protocol_of(config), config.neighbors, numbers, ALONE)
    query, gallery = pairs_to_score(data, max(numbers))
    image, pair, memory = probes.probe_pairs(data, scorer, options)
    images = len(set(query.tolist())) + len(set(gallery.tolist()))
    work, seconds = f"{len(query)} pairs of {images} images", image * images + pair * len(query)
    return [Need("scoring", work, seconds, 12 * len(query), memory)]


def _places(config: PlaceRecognition) -> list[Need]:
    """The stages that are not complete; reranking is planned once there are descriptors."""
    pipeline, needs, seen = Pipeline(config), list[Need](), set[Command]()
    for stages in pipeline.stages().values():
        dim = 0
        for stage in stages:
            make_lists(pipeline, stage.place)
            done = stage.fills and not stage.unfilled
            if not stage.command or stage.command in seen or done:
                continue
            seen.add(stage.command)
            found = _stage(pipeline, stage, dim)
            dim = max(one.dim for one in found) or dim
            needs += [replace(one, stage=f"{stage.place.name}: {one.stage}") for one in found]
    check_config(needs, "every stage is complete", "stages that are still to be run")
    later = ["reranking: ames plan evaluate, once the descriptors are there"] * pipeline.reranks
    return [*needs[:-1], replace(needs[-1], notes=[*needs[-1].notes, *later])]


def _stage(pipeline: Pipeline, stage: Stage, dim: int) -> list[Need]:
    """dim: of the global descriptors, as far as it is known."""
    name, *given = stage.command
    config = pipeline.steps.config(name, *given)
    if name == "prepare_topk_global" and dim:
        counts = [len(stage.place.names(side)) for side in SIDES]
        return [_search(counts[0], counts[1], dim, config.num_neighbors, config.device)]
    return PLANS[name](config) if stage.network else [Need(name, "", None, 0)]


PLANS: dict[str, Callable[[Any], list[Need]]] = {
    "extract_descriptors": _extraction,
    "extract_globals": _globals,
    "prepare_topk_global": _knn,
    "train": _training,
    "evaluate": _scoring,
    "place_recognition": _places,
}
