"""`python extract/train_detector.py`: labelled images in, a trained detector out."""

from dataclasses import replace
from functools import partial
from pathlib import Path

from ames_lite.cli.continuing import training_dir
from ames_lite.cli.extraction import configured_backbone
from ames_lite.cli.schema.extraction import TrainDetector
from ames_lite.cli.schema.jobs import Finetune
from ames_lite.cli.shell import dataset_files, dataset_named
from ames_lite.datasets.layout import find_all
from ames_lite.extraction.detector_training.data import LabelledImages, read_labelled, require_maps
from ames_lite.extraction.detector_training.loop import DetectorRecipe, train_detector
from ames_lite.io.json_file import read_json_file
from ames_lite.runtime import pick_device


def run(config: TrainDetector) -> Path:
    """Train as configured; returns the path of the detector."""
    recipe = DetectorRecipe(**{k: getattr(config, k) for k in DetectorRecipe.__dataclass_fields__})
    device = pick_device(config.device)
    images, val = image_sets(config)
    backbone = configured_backbone(config.backbone, config)
    require_maps(backbone).top_k = 0  # nothing is chosen: all patches train
    folder = training_dir(config, "detector", search=False)
    path = train_detector(
        backbone,
        images,
        folder,
        recipe,
        val=val,
        val_share=config.val_share,
        data={"dataset": config.dataset.option, "val_dataset": config.val_dataset},
        device=device,
        cache_gib=config.cache_gib,
        workers=config.workers,
        save_every=config.save_every,
    )
    meta = read_json_file(path.with_name("meta.json"), "the meta of a detector")
    verdict = "beats" if meta["beats_feature_norm"] else "does NOT beat"
    print(
        f"mAP on {meta['data']['val_images']} images of held-out labels: {meta['map']:.4f} (epoch "
        f"{meta['best_epoch']}); feature norm {meta['map_feature_norm']:.4f}, plain mean "
        f"{meta['map_mean']:.4f}: the detector {verdict} the feature norm"
    )
    print(f"detector: {path} (backbone.arguments.detector={path})")
    return path


def image_sets(config: TrainDetector | Finetune) -> tuple[LabelledImages, LabelledImages | None]:
    """The images to train on and, where val_dataset is given, those to evaluate by."""
    files = dataset_files(config)
    images = read_labelled([files.image_list("train")], config.images or files.image_root)
    name = config.val_dataset
    if name is None:
        return images, None
    chosen = dataset_named(name, config.name)
    given = replace(config, dataset=chosen, images=config.val_images, labels=None)
    other = dataset_files(given)  # fills in where the images of a set of one's own are
    splits = ["train"] if chosen.role == "train" else ["query", "gallery"]
    found = find_all({split: partial(other.image_list, split) for split in splits})
    return images, read_labelled(list(found.values()), given.images or other.image_root)
