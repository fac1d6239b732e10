"""Product codes: a descriptor of D numbers as C bytes, each the nearest of 256 centroids of D / C
numbers (Jégou, Douze and Schmid, "Product quantization for nearest neighbor search", 2011).
"""

from typing import Any

import numpy as np
import numpy.typing as npt

from ames_lite.errors import require
from ames_lite.retrieval.rows import Floats

VALUES = 256  # of a byte
Codebook = npt.NDArray[np.float16]  # centroids [C, 256, D/C]


def check_code_bytes(code_bytes: int, dim: int) -> None:
    fine = code_bytes >= 1 and dim % code_bytes == 0
    expected = f"a divisor of {dim}, the width of descriptors, such as {max(1, dim // 4)}"
    require(fine, f"code_bytes is {code_bytes}", expected)


def encode(codebook: Codebook, descriptors: Floats) -> npt.NDArray[np.int8]:
    """[K, C] of descriptors [K, D]: the nearest centroids, by nearness [C, K, 256], as bytes."""
    book = codebook.astype(np.float32)
    parts = descriptors.astype(np.float32).reshape(-1, len(book), book.shape[2])
    nearness = parts.swapaxes(0, 1) @ book.swapaxes(1, 2) - np.square(book).sum(-1)[:, None] / 2
    return nearness.argmax(-1).T.astype(np.uint8).view(np.int8)


def decode(codebook: Codebook, codes: npt.NDArray[Any]) -> npt.NDArray[np.float16]:
    """[..., D] of codes [..., C]."""
    parts, _, each = codebook.shape
    numbers = codes.view(np.uint8) + VALUES * np.arange(parts)
    chosen = np.take(codebook.reshape(-1, each), numbers, axis=0)  # 1.5 to 10 times as fast as [ ]
    return chosen.reshape(*codes.shape[:-1], parts * each)
