"""AnyLoc's published centroids: `c_centers.pt`, a plain tensor [C, D], read without trust.

The file says neither what it was built from nor how it is used: AnyLoc's are for descriptors of
unit length and assignment by cosine, and those of shape [32, 1536] are of the value facet of block
31 of DINOv2 ViT-g/14 without registers.
"""

from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from ames_lite.errors import BadInput
from ames_lite.io.provenance import Provenance
from ames_lite.io.weights_file import load_weights
from ames_lite.stores.npz import check_numbers

ORIGIN = "published"
SUFFIXES = (".pt", ".pth")
EXPECTED = "AnyLoc's c_centers.pt: one tensor [clusters, width]"
PUBLISHED_SHAPE = (32, 1536)
PUBLISHED_BACKBONE = {"backbone": "dinov2", "variant": "vitg14", "facet": "value", "layer": 31}


def is_published_vocabulary(path: str | Path) -> bool:
    """Whether the name is that of a file of tensors."""
    return Path(path).suffix in SUFFIXES


def read_published_vocabulary(path: str | Path) -> tuple[npt.NDArray[np.float32], Provenance]:
    """centroids [C, D] float32, and what is known of them. Raises MissingFile, BadInput."""
    content = load_weights(path, EXPECTED)
    if not isinstance(content, torch.Tensor) or content.layout != torch.strided:
        kind = getattr(content, "layout", "")  # of tensors: sparse ones are refused too
        what = f"the file holds a {type(content).__name__} {kind}".rstrip()
        raise BadInput(what, where=path, expected=EXPECTED)
    floating = content.detach().to(torch.float32) if content.is_floating_point() else content
    centroids = floating.numpy()
    check_numbers(centroids, "centroids", "[C, D]", path, EXPECTED)
    known = PUBLISHED_BACKBONE if centroids.shape == PUBLISHED_SHAPE else {}
    made = {"origin": ORIGIN, "num_clusters": len(centroids), "distance": "cosine", "unit": True}
    return centroids, {**made, **known}
