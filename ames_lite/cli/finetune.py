"""`python scripts/finetune.py`: labelled images in, a backbone that is better at them out."""

from dataclasses import replace
from pathlib import Path

import torch

from ames_lite.cli.extraction import configured_backbone
from ames_lite.cli.schema.jobs import Finetune
from ames_lite.cli.schema.keys import Named, some_of
from ames_lite.cli.scoring_run import settled
from ames_lite.cli.training import image_sets, make_training_list, training_dir
from ames_lite.errors import require
from ames_lite.extraction.detector_training import data as sets
from ames_lite.extraction.detector_training.data import LabelledImages
from ames_lite.extraction.finetuning.data import readable, stratified
from ames_lite.extraction.finetuning.loop import META, METRIC, Finetuning
from ames_lite.extraction.finetuning.model import Trained, build_loss
from ames_lite.io.json_file import read_json_file
from ames_lite.io.names import check_present, line_of
from ames_lite.io.overrides import word
from ames_lite.processes import Processes, process_group
from ames_lite.training.recipe import FinetuneRecipe


def run(config: Finetune) -> Path:
    """Fine-tune as configured, or resume; returns the folder of the backbone."""
    with process_group(config.device) as (processes, device):
        return _run(settled(config, device, processes), device, processes)


def _run(config: Finetune, device: torch.device, processes: Processes) -> Path:
    recipe = FinetuneRecipe(**some_of(config, FinetuneRecipe.__dataclass_fields__))
    if processes.first:
        make_training_list(config)
    processes.wait()
    images, val = image_sets(config)
    sets.require_maps(configured_backbone(config.backbone, config, "fp32"))
    backbone = sets.require_maps(configured_backbone(_square(config), config, "fp32"))
    what, patch = f"image_size is {recipe.image_size}", backbone.prepare.patch
    require(recipe.image_size % patch == 0, what, expected=f"a multiple of {patch}")
    network, criterion = Trained(backbone.staged(), recipe), build_loss(recipe)
    chosen = _chosen(config, images, val) if processes.first else None
    train, val, single = processes.from_first(chosen)
    made = training_dir(config, "finetune", search=False) if processes.first else None
    folder = processes.from_first(made)
    facts: dict[str, str | int | None] = {"dataset": config.dataset.option}
    facts |= {"val_dataset": config.val_dataset, "split": config.split, "single_images": single}
    for name, part in (("train", train), ("val", val)):
        facts |= {f"{name}_images": len(part), f"{name}_labels": len(set(part.labels.tolist()))}
    how = some_of(config, ("cache_gib", "workers", "save_every"))
    how |= {"data": facts, "processes": processes}
    best = Finetuning(network, criterion, backbone, train, val, recipe, folder, **how).fit()
    if processes.first:
        _report(best, config.backbone.name)
    return best


def _square(config: Finetune) -> Named:
    """The backbone with images as the network is trained: squares, at one scale."""
    side = config.image_size
    more = {"image_size": [side, side], "scales": [1.0], "method": "resize", "top_k": 1}
    return replace(config.backbone, arguments={**config.backbone.arguments, **more})


def _chosen(
    config: Finetune, images: LabelledImages, val: LabelledImages | None
) -> tuple[LabelledImages, LabelledImages, int]:
    """Readable images to train on and evaluate by; how many are the only one of their class."""
    parts = [part for part in (images, val) if part is not None]
    for part in parts:
        check_present(part.root, part.names, line_of(part.source, "image"))
    given = [readable(part, config.workers, config.on_bad_image) for part in parts]
    train, single = sets.drop_single(given[0])
    if single:
        print(f"{single} images are the only one of their class: left out of training")
    if val is not None:
        sets.drop_single(given[1])  # refuses what cannot be evaluated by
        val = given[1]
    else:
        hold_out = sets.hold_out if config.split == "classes" else stratified
        train, val = hold_out(train, config.val_share, config.seed)
    sets.refuse_shared(train, val)
    return train, val, single


def _report(best: Path, name: str) -> None:
    meta = read_json_file(best / META, "the meta of a fine-tuned backbone")
    before, after = (f"{meta[key]:.4f}" for key in (f"{METRIC} before", METRIC))
    told = f"{before} before, {after} after epoch {meta['best_epoch']}"
    print(f"{METRIC} on {meta['data']['val_images']} held-out images: {told}")
    print(f"backbone: {best} (backbone={name} {word('backbone.arguments.weights', best)})")
