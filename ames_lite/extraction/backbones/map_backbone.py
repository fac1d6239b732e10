"""The base of backbones whose network makes a map of features: batches, weights (loaded on first
use), top-K, provenance.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from ames_lite.errors import BadInput, check_fields, require
from ames_lite.extraction.backbones.detector import check_detector, load_detector
from ames_lite.extraction.backbones.interface import Backbone, Described, check_prepared
from ames_lite.io.digest import file_digest
from ames_lite.io.images import Box
from ames_lite.io.resizing import Preparation, Prepared, View, patch_centres, to_whole_image
from ames_lite.records import LocalDescriptors
from ames_lite.runtime import PRECISIONS, autocast, pick_device

logger = logging.getLogger(__name__)

OF_VIEWS = ("image_size", "scales", "method", "resize", "query_crop", "crop_rounding")
IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
GPU_BATCH_PIXELS = 8_000_000  # on a CPU batches gain nothing


class Features(NamedTuple):
    """patches [B, D, h, w]; cls [B, D], the global vector, None where the network stops before."""

    patches: Tensor
    cls: Tensor | None


def grid_of(pixels: Tensor, patch: int) -> tuple[int, int]:
    """The (rows, columns) of patches of pixels [B, 3, H, W]. BadInput where one is cut."""
    height, width = pixels.shape[-2:]
    if height % patch or width % patch or not height or not width:
        raise BadInput(f"pixels are {height} × {width}", expected=f"multiples of {patch}")
    return height // patch, width // patch


def as_map(tokens: Tensor, grid: tuple[int, int]) -> Tensor:
    """Patch tokens [B, h * w, D], row after row, as a map [B, D, h, w]."""
    return tokens.transpose(1, 2).reshape(len(tokens), -1, *grid)


def require_text(**values: object) -> None:
    """Raises BadInput for values that are neither text, a path nor None."""
    for name, value in values.items():
        require(isinstance(value, str | Path | None), f"{name} is {value!r}", "text")


class Staged(nn.Module):
    """A network in stages, for fine-tuning: pooled(layers(stem(pixels))) is its global vector."""

    adapted: tuple[str, ...] = ()  # linear parts of a block, by name, that LoRA is added to

    @property
    def layers(self) -> nn.ModuleList:
        """Its blocks, each from a hidden state to the next."""
        raise NotImplementedError

    @property
    def endings(self) -> list[nn.Module]:
        """The modules behind the blocks."""
        raise NotImplementedError

    def stem(self, pixels: Tensor) -> Tensor:
        """The first hidden state of normalized pixels [B, 3, H, W]."""
        raise NotImplementedError

    def pooled(self, hidden: Tensor) -> Tensor:
        """The global vectors [B, V] of the last hidden state."""
        raise NotImplementedError


@dataclass(frozen=True)
class MapOptions:
    """What every such backbone takes beside its own arguments."""

    # longer side; 0: as on disk; [height, width]: both; None: as a vision transformer was trained
    image_size: int | Sequence[int] | None = 0
    scales: Sequence[float] = (1.0,)  # factors on top of image_size
    method: str = "resize"  # or center_crop (AnyLoc)
    resize: str = "area"  # cv2, INTER_AREA, up INTER_LINEAR; or bicubic, bicubic_float
    query_crop: str = "int"  # pixels of a crop box, as published; or cover: all it touches
    crop_rounding: str = "even"  # of center_crop's first pixel, as published; or floor
    global_scales: str = "mean"  # of the scales' unit vectors; or one: of the scale nearest to 1
    local_scales: str = "all"  # or one: descriptors of the scale nearest to 1
    top_k: int = 700  # strongest descriptors kept per image, over all scales; 0: all
    detector: str | None = None  # published detector weights; None: the feature's norm
    space: str | None = None  # descriptors of the detector or backbone; None: the detector's own
    device: str = "auto"
    precision: str = "fp32"  # or bf16, fp16
    batch_pixels: int | None = None  # bound of a batch; 0: single images; None: by device

    def __post_init__(self) -> None:
        require_text(detector=self.detector, space=self.space)
        spaces = (None, "backbone", "detector") if self.detector else (None, "backbone")
        counts = isinstance(self.top_k, int) and self.top_k >= 0
        fits = {
            "top_k": (counts, "at least 1 descriptor per image, or 0: all of them"),
            "space": (self.space in spaces, "backbone, or detector with detector=<its weights>"),
            "global_scales": (self.global_scales in ("one", "mean"), "one or mean"),
            "local_scales": (self.local_scales in ("one", "all"), "one or all"),
        }
        check_fields(self, fits)


class TopK(NamedTuple):
    """descriptors [B, K, D], weight [B, K] descending, scale [B, K] integers, xy [B, K, 2]."""

    descriptors: Tensor
    weight: Tensor
    scale: Tensor
    xy: Tensor


def top_k(descriptors: Sequence[Tensor], weights: Sequence[Tensor], count: int) -> TopK:
    """The min(count, all) strongest of every image; maps [B, D, h, w] and [B, 1, h, w] a scale."""
    weight = torch.cat([w.flatten(1) for w in weights], dim=1)
    weight, order = weight.sort(dim=1, descending=True, stable=True)
    weight, order = weight[:, :count], order[:, :count].contiguous()
    # only the chosen rows are copied: all maps side by side would double the memory
    flat = [d.flatten(2) for d in descriptors]
    lengths = torch.tensor([maps.shape[2] for maps in flat], device=order.device)
    starts = lengths.cumsum(0) - lengths
    scale = torch.searchsorted(starts, order, right=True) - 1
    centres = [patch_centres(*w.shape[2:]) for w in weights]
    places = torch.cat([torch.from_numpy(c) for c in centres]).to(order.device)
    position = order - starts[scale]
    chosen = flat[0].new_empty(*scale.shape, flat[0].shape[1])
    for index, values in enumerate(flat):
        row, column = (scale == index).nonzero(as_tuple=True)
        chosen[row, column] = values[row, :, position[row, column]]
    return TopK(chosen, weight, scale, places[order])


class MapBackbone(Backbone):
    """name, variant, facet, layer: for provenance; mean, std: of RGB pixels in [0, 1]."""

    defaults = MapOptions()
    prepare: Preparation
    name: str
    variant: str
    facet: str
    layer: int | None
    mean, std = IMAGENET_MEAN, IMAGENET_STD
    has_published_detector = True

    def __init__(
        self,
        dim: int,  # channels of the map
        *,
        patch: int,  # sides of what the network sees are multiples of it
        global_kind: str | None,
        global_dim: int,
        **options: Any,  # of MapOptions
    ) -> None:
        self.options = chosen = replace(self.defaults, **options)
        self.prepare = Preparation(patch=patch, **{key: getattr(chosen, key) for key in OF_VIEWS})
        scales = self.prepare.scales
        self._nearest = min(range(len(scales)), key=lambda i: abs(scales[i] - 1))  # scale to 1
        one = slice(self._nearest, self._nearest + 1)
        self._described = slice(0, None) if chosen.local_scales == "all" else one
        self.top_k, self.precision = chosen.top_k, chosen.precision
        place = chosen.device, chosen.precision, chosen.batch_pixels
        self.device, self.batch_pixels = placed(*place)
        self.dim, self.global_kind, self.global_dim = dim, global_kind, global_dim
        self.detector_path = chosen.detector and str(Path(chosen.detector).expanduser())
        self.space = chosen.space or ("detector" if chosen.detector else "backbone")
        path, known = self.detector_path, self._features_are()
        self._detector = load_detector(path, dim, known).to(self.device) if path else None
        if self._detector is not None and self.space == "detector":
            self.dim = self._detector.bn.num_features

    def _features_are(self) -> dict[str, Any]:
        """Provenance of the features, without the weights."""
        known = {"backbone": self.name, "variant": self.variant}
        return {**known, "facet": self.facet, "layer": self.layer}

    def _network(self) -> tuple[nn.Module, str]:
        """The network, from pixels to Features, and the digest of its weights."""
        raise NotImplementedError

    def staged(self) -> Staged:
        """The network itself, to be trained; float32, on its device. Raises BadInput."""
        if type(self).save is not MapBackbone.save and self.global_kind is not None:
            network = self._loaded[0]  # weights are not asked for in vain
            if isinstance(network, Staged):
                return network
        what = f"the backbone {self.name} ({self.facet}) cannot be fine-tuned"
        raise BadInput(what, expected="efficientnet_lite0, or a DINOv2 with facet=patch")

    def save(self, network: Any, folder: Path) -> Path:
        """Write a network of `staged` into a folder that weights= takes; returns the file."""
        raise NotImplementedError

    def _vector(self, found: Sequence[Features]) -> Tensor | None:
        """The global vectors [B, D] of a batch, from its features at every scale."""
        vectors = [features.cls for features in found if features.cls is not None]
        if not vectors:
            return None
        if self.options.global_scales == "one" or len(vectors) == 1:
            return vectors[self._nearest]
        return torch.stack([functional.normalize(vector, dim=1) for vector in vectors]).mean(dim=0)

    def _region(self, view: View) -> Box:
        """The box of the whole image that the map's cells cover."""
        return view.region

    @cached_property
    def _loaded(self) -> tuple[nn.Module, str]:
        """The network on its device, and the digest of its weights."""
        network, digest = self._network()
        if self.detector_path is not None:
            check_detector(self.detector_path, {**self._features_are(), "weights": digest})
        if self._detector is None and self.top_k and self.has_published_detector:
            logger.warning(
                "no detector weights are given (detector=): descriptors are chosen by their norm, "
                "which ranks worse than the published detector"
            )
        dtype = PRECISIONS[self.precision]
        for module in network.modules():
            if dtype is not None and isinstance(module, nn.Linear):
                module.to(dtype)  # else autocast converts it anew in every block
        return network.requires_grad_(False).to(self.device), digest

    @property
    def provenance(self) -> dict[str, Any]:
        """Loads the weights: their digest is part of it."""
        path, prepare, options = self.detector_path, self.prepare, self.options
        size = prepare.image_size
        cropped = prepare.method == "center_crop"
        one = options.global_scales == "one" or len(prepare.scales) == 1
        return {
            "backbone": self.name,
            "variant": self.variant,
            "weights": self._loaded[1],
            "facet": self.facet,
            "layer": self.layer,
            "detector": "feature norm" if path is None else "SpatialAttention2d",
            "detector_weights": None if path is None else file_digest(Path(path)),
            "descriptor_space": self.space,
            "top_k": self.top_k,
            "image_size": size if isinstance(size, int) else list(size),
            "scales": list(prepare.scales),
            "resize": prepare.resize,
            "method": prepare.method,
            **({"crop_rounding": prepare.crop_rounding} if cropped else {}),
            "query_crop": prepare.query_crop,
            "global_scales": prepare.scales[self._nearest] if one else "mean of unit vectors",
            **({} if options.local_scales == "all" else {"local_scales": options.local_scales}),
            "precision": self.precision,
        }

    def describe(self, batch: Sequence[Prepared]) -> list[Described]:
        """The strongest descriptors over all scales, and vectors, of images of one shape."""
        found = [self.features(pixels) for pixels in self.normalized(batch)]
        with torch.inference_mode():
            vector = self._vector(found)
            described = [self._weigh(features.patches) for features in found[self._described]]
            maps, weights = ([pair[side] for pair in described] for side in (0, 1))
            count = self.top_k or sum(weight[0].numel() for weight in weights)
            best = top_k(maps, weights, count)
        best = TopK(*(values.cpu() for values in best))
        vectors = [None] * len(batch) if vector is None else list(vector.cpu().numpy())
        local = (self._record(best, row, prepared) for row, prepared in enumerate(batch))
        return [Described(*both) for both in zip(local, vectors, strict=True)]

    def feature_maps(self, batch: Sequence[Prepared]) -> list[Tensor]:
        """The features [B, C, h, w] of images of one shape at every scale, float32."""
        return [self.features(pixels).patches for pixels in self.normalized(batch)]

    def features(self, pixels: Tensor) -> Features:
        """Features in float32 of normalized pixels [B, 3, H, W], sides multiples of the patch."""
        network, _ = self._loaded
        with torch.inference_mode(), autocast(self.precision, self.device):
            found: Features = network(pixels.to(self.device))
        return Features(found.patches.float(), None if found.cls is None else found.cls.float())

    def normalized(self, batch: Sequence[Prepared]) -> list[Tensor]:
        """The pixels [B, 3, H, W] of every scale."""
        check_batch(batch)
        mean = torch.tensor(self.mean, device=self.device).view(3, 1, 1)
        std = torch.tensor(self.std, device=self.device).view(3, 1, 1)
        stacked = []
        for scale in range(len(self.prepare.scales)):
            views = np.stack([prepared.views[scale].pixels for prepared in batch])
            planes = torch.from_numpy(views).to(self.device).permute(0, 3, 1, 2)
            stacked.append((planes.float() / 255 - mean) / std)
        return stacked

    def _weigh(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """Descriptors [B, D, h, w] and weights [B, 1, h, w] of a feature map."""
        unit = functional.normalize(features, dim=1)
        if self._detector is None:
            return unit, features.norm(dim=1, keepdim=True)
        own, weight = self._detector(features)
        return (own if self.space == "detector" else unit), weight

    def _record(self, found: TopK, row: int, prepared: Prepared) -> LocalDescriptors:
        scale = found.scale[row].numpy() + self._described.start
        regions = np.array([self._region(view) for view in prepared.views])[scale]
        xy = to_whole_image(found.xy[row].numpy(), regions, prepared.size).astype(np.float32)
        descriptors, weight = found.descriptors[row].numpy(), found.weight[row].numpy()
        return LocalDescriptors(descriptors, xy, scale, weight, prepared.size)


def placed(device: str, precision: str, batch_pixels: int | None) -> tuple[torch.device, int]:
    """The device and the bound of its batches, in pixels. Raises BadInput."""
    place = pick_device(device)
    default = GPU_BATCH_PIXELS if place.type == "cuda" else 0
    bound = default if batch_pixels is None else batch_pixels
    require(isinstance(bound, int) and bound >= 0, f"batch_pixels is {bound!r}", "a number from 0")
    require(precision in PRECISIONS, f"precision '{precision}'", f"one of {list(PRECISIONS)}")
    autocast(precision, place)
    return place, bound


def check_batch(batch: Sequence[Prepared]) -> None:
    """Raises BadInput for what `prepare` did not give, and for more than one shape."""
    check_prepared(batch, Prepared)
    shapes = [prepared.shape for prepared in batch]
    require(len(set(shapes)) == 1, f"a batch has the shapes {shapes}", "one or more of one shape")
