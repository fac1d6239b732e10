"""Pictures to extract from: noise with structure, as JPEG files of several shapes.

Input: a folder and sizes. Output: jobs, as the stage has them. The same seed gives the same files.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch.nn import functional

from ames_lite.extraction.batches import Job
from ames_lite.io.images import save_jpeg

Shape = tuple[int, int]  # height, width
CELL = 16  # pixels of a patch of colour: a JPEG of pure noise would be slow to decode
QUALITY = 90


def make_pictures(folder: Path, shapes: Sequence[Shape], num: int, seed: int) -> list[Job]:
    """`num` JPEG files in the folder, the shapes in turns."""
    generator = torch.Generator().manual_seed(seed)
    jobs = []
    for index in range(num):
        name = f"{index:05}.jpg"
        save_jpeg(folder / name, _picture(shapes[index % len(shapes)], generator), QUALITY)
        jobs.append(Job(name, folder / name, None))
    return jobs


def _picture(shape: Shape, generator: torch.Generator) -> np.ndarray:
    """RGB uint8 [H, W, 3]: smooth colours with a little noise on top."""
    coarse = torch.rand(
        1, 3, -(-shape[0] // CELL) + 1, -(-shape[1] // CELL) + 1, generator=generator
    )
    smooth = functional.interpolate(coarse, size=shape, mode="bilinear", align_corners=True)[0]
    noisy = smooth + 0.05 * torch.randn(3, *shape, generator=generator)
    pixels: np.ndarray = (noisy.clamp(0, 1) * 255).to(torch.uint8).permute(1, 2, 0).numpy()
    return np.ascontiguousarray(pixels)
