"""Extraction as a plain loop: one image at a time, float32, transformers' forward as it stands.

Input: jobs. Output: for every image its strongest descriptors, as arrays. It is what the stage is
measured against, and what its descriptors are compared with. Nothing of the network is the
project's own but the position embeddings, which are the original code's (transformers has others at
sizes that were not trained); at the trained size nothing is.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from ames_lite.extraction.backbones.dinov2 import PATCH, position_embeddings, random_network
from ames_lite.extraction.backbones.map_backbone import IMAGENET_MEAN, IMAGENET_STD
from ames_lite.extraction.backbones.pretrained import Checkpoint
from ames_lite.extraction.batches import Job
from ames_lite.io.images import MIN_SIDE, as_image
from ames_lite.io.resizing import resize_image

Float32 = npt.NDArray[np.float32]


class PlainTop(NamedTuple):
    """descriptors [K, D] of unit length, weight [K] descending, place [K]: row-major patches."""

    descriptors: Float32
    weight: Float32
    place: npt.NDArray[np.int64]


class PlainLoop:
    """A DINOv2 with weights from a seed, and the loop over images."""

    def __init__(
        self, variant: Checkpoint, seed: int, image_size: int, top_k: int, device: torch.device
    ) -> None:
        network: Any = random_network(variant, seed)
        self.model = network.to(device).requires_grad_(False)
        self.skipped = 1 + variant.registers
        self.image_size, self.top_k, self.device = image_size, top_k, device
        parts: Any = self.model.embeddings

        def original(tokens: Tensor, height: int, width: int) -> Tensor:
            grid = (height // PATCH, width // PATCH)
            return position_embeddings(parts.position_embeddings, *grid, variant.registers > 0)

        parts.interpolate_pos_encoding = original

    def run(self, jobs: Sequence[Job]) -> Iterator[PlainTop]:
        """The strongest of every image."""
        for job in jobs:
            unit, norm = self.maps(job)
            weight, place = norm.topk(min(self.top_k, len(norm)))
            yield PlainTop(*(t.cpu().numpy() for t in (unit[place], weight, place)))

    def grid(self, size: tuple[int, int]) -> tuple[int, int]:
        """Rows and columns of patches of an image of (height, width)."""
        factor = self.image_size / max(size)
        rows, columns = (max(1, round(side * factor / PATCH)) for side in size)
        return rows, columns

    @torch.inference_mode()
    def maps(self, job: Job) -> tuple[Tensor, Tensor]:
        """All unit descriptors [P, D] of an image and their norms [P], patches row by row."""
        image = as_image(job.image, min_side=MIN_SIDE)
        rows, columns = self.grid((image.shape[0], image.shape[1]))
        size = (rows * PATCH, columns * PATCH)
        resized = resize_image(image, size, "area", max(image.shape) > self.image_size)
        pixels = torch.from_numpy(resized).to(self.device)
        planes = pixels.permute(2, 0, 1)[None].float() / 255
        mean, std = (
            torch.tensor(v, device=self.device).view(3, 1, 1) for v in (IMAGENET_MEAN, IMAGENET_STD)
        )
        tokens = self.model((planes - mean) / std).last_hidden_state[0, self.skipped :]
        norm = tokens.norm(dim=1)
        return tokens / norm[:, None], norm
