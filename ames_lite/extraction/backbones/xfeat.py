"""XFeat as a backbone: the most reliable keypoints, with descriptors of 64 dimensions, positions as
of SIFT. Source: Potje et al., XFeat: Accelerated Features for Lightweight Image Matching, CVPR
2024.
"""

from collections.abc import Sequence
from functools import cached_property
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional

from ames_lite.errors import require
from ames_lite.extraction.backbones.interface import Backbone, Described, check_count
from ames_lite.extraction.backbones.map_backbone import check_batch, placed, require_text
from ames_lite.io.resizing import Preparation, Prepared, to_whole_image
from ames_lite.io.xfeat_package import load_xfeat, package_version
from ames_lite.records import LocalDescriptors
from ames_lite.runtime import autocast

DIM = 64
MULTIPLE = 32  # of pixels: the sides that the network takes
CELL = 8  # pixels a side of a cell of its maps
SUPPRESSED = 5  # pixels a side of the window in which one keypoint is kept
# of an image: pixels [K, 2] (x, y), scores [K] descending, descriptors [K, 64]
Keypoints: TypeAlias = tuple[Tensor, Tensor, Tensor]


class Maps(NamedTuple):
    """Of B images."""

    descriptors: Tensor  # [B, 64, h, w], unit length
    keypoints: Tensor  # [B, 1, 8h, 8w], the chance that a pixel is one
    reliability: Tensor  # [B, 1, h, w], 0 to 1


class Xfeat(Backbone):
    """XFeat's keypoints, D = 64; images are shrunk to image_size, never enlarged."""

    dim = DIM
    prepare: Preparation

    def __init__(
        self,
        weights: str | None = None,  # a file as the package's xfeat.pt; None: that one
        top_k: int = 600,  # strongest keypoints kept per image
        image_size: int | Sequence[int] = 640,  # longer images are shrunk to this; 0: never
        resize: str = "area",  # how; or bicubic, bicubic_float
        query_crop: str = "int",  # pixels of a crop box; or cover: all it touches
        threshold: float = 0.05,  # least chance of a keypoint, as published
        device: str = "auto",
        precision: str = "fp32",  # or bf16, fp16
        batch_pixels: int | None = None,  # bound of a batch; 0: single images; None: by device
    ) -> None:
        require_text(weights=weights)
        check_count(top_k=top_k)
        fine = isinstance(threshold, int | float) and 0 <= threshold < 1
        require(fine, f"threshold is {threshold!r}", "a number from 0, below 1")
        self.weights, self.top_k, self.threshold = weights, top_k, float(threshold)
        self.prepare = Preparation(
            image_size=image_size, patch=1, resize=resize, query_crop=query_crop, enlarge=False
        )
        self.precision = precision
        self.device, self.batch_pixels = placed(device, precision, batch_pixels)

    @cached_property
    def _loaded(self) -> tuple[nn.Module, str]:
        network, digest = load_xfeat(self.weights)
        return network.requires_grad_(False).to(self.device), digest

    @property
    def provenance(self) -> dict[str, Any]:
        size = self.prepare.image_size
        return {
            "backbone": "xfeat",
            "variant": "sparse",
            "weights": self._loaded[1],
            "package": package_version(),
            "detector": "XFeat keypoints",
            "threshold": self.threshold,
            "top_k": self.top_k,
            "image_size": size if isinstance(size, int) else list(size),
            "enlarge": False,
            "resize": self.prepare.resize,
            "query_crop": self.prepare.query_crop,
            "precision": self.precision,
        }

    def describe(self, batch: Sequence[Prepared]) -> list[Described]:
        """The keypoints of prepared images of one shape; none where a side is below 32 pixels."""
        check_batch(batch)
        ((height, width),) = batch[0].shape
        size = (height // MULTIPLE * MULTIPLE, width // MULTIPLE * MULTIPLE)
        if not min(size):
            return [_record(NOTHING, size, prepared) for prepared in batch]
        with torch.inference_mode():
            maps = self._maps(np.stack([prepared.views[0].pixels for prepared in batch]), size)
            images = zip(*(values.split(1) for values in maps), strict=True)
            found = [strongest(Maps(*one), self.top_k, self.threshold) for one in images]
        return [_record(one, size, prepared) for one, prepared in zip(found, batch, strict=True)]

    def _maps(self, views: npt.NDArray[Any], size: tuple[int, int]) -> Maps:
        """The maps of views [B, H, W, 3], which are resized to multiples of 32 as published."""
        network, _ = self._loaded
        pixels = torch.from_numpy(views).to(self.device).permute(0, 3, 1, 2).float() / 255
        pixels = functional.interpolate(pixels, size, mode="bilinear", align_corners=False)
        with autocast(self.precision, self.device):
            features, logits, reliability = network(pixels)
        keypoints = logits.float().softmax(dim=1)[:, : CELL**2]  # the last: none in the cell
        descriptors = functional.normalize(features.float(), dim=1)
        return Maps(descriptors, functional.pixel_shuffle(keypoints, CELL), reliability.float())


NOTHING = (torch.zeros(0, 2), torch.zeros(0), torch.zeros(0, DIM))


def strongest(maps: Maps, count: int, threshold: float) -> Keypoints:
    """Of one image's maps, the at most `count` keypoints of the highest score above 0. A keypoint
    is the largest of its 5 × 5 pixels and above the threshold; its score is its chance times its
    reliability. As published, the first pixel of the image is never one.
    """
    chance = maps.keypoints
    side, reach = SUPPRESSED, SUPPRESSED // 2
    rows = functional.max_pool2d(chance, (1, side), stride=1, padding=(0, reach))
    largest = functional.max_pool2d(rows, (side, 1), stride=1, padding=(reach, 0))
    kept = (chance == largest) & (chance > threshold)
    kept[..., 0, 0] = False
    pixel = kept[0, 0].nonzero().flip(1)
    size = (chance.shape[2], chance.shape[3])
    score = _read(chance, pixel, size, "nearest") * _read(maps.reliability, pixel, size, "bilinear")
    score, order = score[:, 0].sort(descending=True, stable=True)
    order = order[:count][score[:count] > 0]
    descriptors = _read(maps.descriptors, pixel[order], size, "bicubic")
    return pixel[order], score[: len(order)], functional.normalize(descriptors, dim=1)


def _read(values: Tensor, pixel: Tensor, size: tuple[int, int], mode: str) -> Tensor:
    """A map [1, C, h, w] at pixels [K, 2]: [K, C]. As published, pixels are normalised by size - 1
    and read with align_corners off: places drift by half a pixel, the last row and column score 0.
    """
    last = pixel.new_tensor([size[1] - 1, size[0] - 1])
    grid = (2 * (pixel / last) - 1)[None, :, None]
    return functional.grid_sample(values, grid, mode=mode, align_corners=False)[0, :, :, 0].T


def _record(found: Keypoints, size: tuple[int, int], prepared: Prepared) -> Described:
    """Keypoints of a view of that size, in the whole image, on the CPU."""
    pixel, score, descriptors = (values.cpu().numpy() for values in found)
    centre = (pixel + 0.5) / np.maximum([size[1], size[0]], 1)
    xy = to_whole_image(centre, prepared.views[0].region, prepared.size).astype(np.float32)
    scale = np.zeros(len(xy), np.uint8)
    return Described(LocalDescriptors(descriptors, xy, scale, score, prepared.size))
