"""`python extract/train_detector.py`: labelled images in, a trained detector out."""

from pathlib import Path

from ames_lite.cli.extraction import configured_backbone
from ames_lite.cli.schema.extraction import TrainDetector
from ames_lite.cli.schema.keys import some_of
from ames_lite.cli.training import image_sets, training_dir
from ames_lite.extraction.detector_training.data import require_maps
from ames_lite.extraction.detector_training.loop import DetectorRecipe, train_detector
from ames_lite.io.json_file import read_json_file
from ames_lite.runtime import pick_device


def run(config: TrainDetector) -> Path:
    """Train as configured; returns the path of the detector."""
    recipe = DetectorRecipe(**some_of(config, DetectorRecipe.__dataclass_fields__))
    images, val = image_sets(config)
    backbone = configured_backbone(config.backbone, config)
    require_maps(backbone).top_k = 0  # nothing is chosen: all patches train
    folder = training_dir(config, "detector", search=False)
    how = some_of(config, ("val_share", "cache_gib", "workers", "save_every"))
    how |= {"data": {"dataset": config.dataset.option, "val_dataset": config.val_dataset}}
    how |= {"device": pick_device(config.device)}
    path = train_detector(backbone, images, folder, recipe, val=val, **how)
    meta = read_json_file(path.with_name("meta.json"), "the meta of a detector")
    verdict = "beats" if meta["beats_feature_norm"] else "does NOT beat"
    print(
        f"mAP on {meta['data']['val_images']} images of held-out labels: {meta['map']:.4f} (epoch "
        f"{meta['best_epoch']}); feature norm {meta['map_feature_norm']:.4f}, plain mean "
        f"{meta['map_mean']:.4f}: the detector {verdict} the feature norm"
    )
    print(f"detector: {path} (backbone.arguments.detector={path})")
    return path
