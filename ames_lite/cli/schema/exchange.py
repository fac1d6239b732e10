"""The keys of the commands that exchange data with other tools."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from ames_lite.cli.schema.keys import Count, Data, OnBadImage, Overwrite, Split, listed


@dataclass
class ImportFeatures(Overwrite, Data):
    """Native stores from features that other tools saved (hloc, Patch-NetVLAD, DELG, …)"""

    features: Path | None = None  # a file or a folder
    form: Literal["hloc", "superpoint", "npz", "patchnetvlad", "delg", "npy"] | None = None  # null:
    # by the names of the files
    desc_name: str = "imported"  # prefix of the files; in provenance what the descriptors are
    split: Split = "gallery"  # whose store is written
    names: Path | None = None  # the image list; null: the data set's, or all that have features
    global_: str | None = None  # import global descriptors, under this name (cls, vlad); null:
    # local descriptors
    top_k: Count | None = None  # strongest descriptors that are kept; null: all
    packed: bool | None = None  # uint8 descriptors: true: packed bits, false: numbers
    pixels: Literal["centre", "corner"] = (
        "centre"  # what keypoints of whole numbers are of a pixel:
    )
    # its centre (hloc), or its upper left corner (COLMAP)
    resized: list[int] = listed(480, 640)  # Patch-NetVLAD's imageresizeh and imageresizew
    dtype: Literal["float32", "float16"] = "float32"  # of global descriptors
    on_bad_image: OnBadImage = "error"  # or skip: rows without descriptors
