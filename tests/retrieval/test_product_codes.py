"""Product codes: the nearest centroid of every part."""

import numpy as np
import pytest

from ames_lite.errors import BadInput
from ames_lite.retrieval.product_codes import check_code_bytes, decode, encode

PARTS, EACH = 4, 3
RNG = np.random.default_rng(0)
CODEBOOK = RNG.standard_normal((PARTS, 256, EACH)).astype(np.float16)
DESCRIPTORS = RNG.standard_normal((20, PARTS * EACH)).astype(np.float16)


def plain_codes(descriptors: np.ndarray) -> np.ndarray:
    """One part of one descriptor after the other."""
    codes = np.zeros((len(descriptors), PARTS), np.uint8)
    for row, values in enumerate(descriptors.astype(np.float32)):
        for part, book in enumerate(CODEBOOK.astype(np.float32)):
            distances = ((book - values[part * EACH : (part + 1) * EACH]) ** 2).sum(axis=1)
            codes[row, part] = distances.argmin()
    return codes


def test_a_code_names_the_nearest_centroid_of_a_part() -> None:
    codes = encode(CODEBOOK, DESCRIPTORS)
    assert codes.dtype == np.int8
    np.testing.assert_array_equal(codes.view(np.uint8), plain_codes(DESCRIPTORS))


def test_centroids_come_back_as_they_are() -> None:
    chosen = RNG.integers(0, 256, (2, 5, PARTS), dtype=np.uint8)
    found = decode(CODEBOOK, chosen.view(np.int8))
    for at in np.ndindex(2, 5):
        parts = [CODEBOOK[part, chosen[(*at, part)]] for part in range(PARTS)]
        np.testing.assert_array_equal(found[at], np.concatenate(parts))
    np.testing.assert_array_equal(encode(CODEBOOK, found[0]).view(np.uint8), chosen[0])


def test_no_descriptors_have_no_codes() -> None:
    codes = encode(CODEBOOK, DESCRIPTORS[:0])
    assert codes.shape == (0, PARTS) and decode(CODEBOOK, codes).shape == (0, PARTS * EACH)


@pytest.mark.parametrize("code_bytes", [0, -2, 5, 24])
def test_codes_divide_the_width(code_bytes: int) -> None:
    with pytest.raises(BadInput, match="code_bytes is"):
        check_code_bytes(code_bytes, 12)
