"""`python extract/extract_descriptors.py`: local descriptors, and global ones of the same pass."""

import os

from ames_lite.cli.extraction import configured_backbone, find_lists, query_boxes
from ames_lite.cli.schema.extraction import ExtractDescriptors
from ames_lite.cli.schema.keys import some_of
from ames_lite.cli.shell import chosen_splits, dataset_files
from ames_lite.errors import check_config
from ames_lite.extraction.backbones.interface import Backbone
from ames_lite.extraction.descriptors import BinaryCode, extract_descriptors
from ames_lite.stores.merging import parse_shard

OUTPUTS = ("local", "global")


def run(config: ExtractDescriptors) -> None:
    files, splits = dataset_files(config), chosen_splits(config)
    shard = parse_shard(config.shard, os.environ)
    find_lists(files, splits)
    lists = {split: files.names(split) for split in splits}
    backbone = configured_backbone(config.backbone, config)
    code = config.binarization
    binarization = None if code is None else BinaryCode.load(code)
    outputs, root = outputs_of(config, backbone), config.images or files.image_root
    how = some_of(config, ("workers", "on_bad_image", "overwrite"))
    how |= {"binarization": binarization, "shard": shard}
    for split in splits:
        how["boxes"] = query_boxes(files, lists[split]) if split == "query" else None
        local = files.local_path(split) if "local" in outputs else None
        kind, given = backbone.global_kind or "cls", (backbone, root, lists[split])
        vectors = files.global_path(split, kind) if "global" in outputs else None
        for path in extract_descriptors(*given, local=local, vectors=vectors, **how):
            print(f"{split}: {path}")


def outputs_of(config: ExtractDescriptors, backbone: Backbone) -> list[str]:
    """`outputs=`; null: local descriptors, and the global one of a backbone that has one."""
    if config.outputs is None:
        return ["local"] if backbone.global_kind is None else list(OUTPUTS)
    check_config(config.outputs, "outputs=[]", f"some of {', '.join(OUTPUTS)}")
    return list(config.outputs)
