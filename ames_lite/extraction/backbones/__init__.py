"""Backbones behind one interface. BACKBONES is the visible dict of all of them; its keys are the
values of `backbone=` and the default for `desc_name=`.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

from ames_lite.errors import chosen
from ames_lite.extraction.backbones import dinov2
from ames_lite.extraction.backbones.cvnet import Cvnet
from ames_lite.extraction.backbones.dinov2 import Dinov2, TinyRandom
from ames_lite.extraction.backbones.efficientnet import EfficientNet
from ames_lite.extraction.backbones.interface import Backbone
from ames_lite.extraction.backbones.photo import Photo
from ames_lite.extraction.backbones.sift import Sift
from ames_lite.extraction.backbones.vision_transformers import DINOV3, SIGLIP2, Dinov3, Siglip2
from ames_lite.extraction.backbones.xfeat import Xfeat

NETWORKS: dict[str, Callable[..., Backbone]] = {  # these take device, precision, batch_pixels too
    "dinov2": Dinov2,  # ViT-B/14 with registers, AMES' own
    **{f"dinov2_{variant}": partial(Dinov2, variant=variant) for variant in dinov2.VARIANTS},
    "cvnet": Cvnet,
    "efficientnet_lite0": EfficientNet,
    **{f"dinov3_{key}": partial(Dinov3, variant=key) for key in DINOV3},
    **{f"siglip2_{key}": partial(Siglip2, variant=key) for key in SIGLIP2},
    "xfeat": Xfeat,
    "photo": Photo,
    "tiny_random": TinyRandom,  # for tests
}
BACKBONES: dict[str, Callable[..., Backbone]] = {"sift": Sift, **NETWORKS}


def build_backbone(
    name: str,
    *,
    device: str = "auto",
    precision: str = "fp32",
    batch_pixels: int | None = None,
    **arguments: Any,
) -> Backbone:
    """The backbone of that name; device, precision, batch_pixels: of networks. ConfigError."""
    build = chosen(name, BACKBONES, "backbone")
    if name in NETWORKS:
        arguments |= {"device": device, "precision": precision, "batch_pixels": batch_pixels}
    return build(**arguments)
