"""Pooling of maps: the published numbers, and loops over cells as referees."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from ames_lite.errors import BadInput
from ames_lite.retrieval.pooling import gem_map, rgem, sgem
from tests.helpers import shared_file


def a_map(*shape: int) -> torch.Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def mirrored(index: int, length: int) -> int:
    """A row beyond the border is the one as far inside."""
    index = abs(index)
    return 2 * (length - 1) - index if index >= length else index


def slow_rgem(plane: torch.Tensor, power: float) -> torch.Tensor:
    """Cell by cell."""
    height, width = plane.shape
    found = torch.empty_like(plane)
    for y in range(height):
        for x in range(width):
            window = [
                plane[mirrored(y + dy, height), mirrored(x + dx, width)].item() ** power
                for dy in range(-2, 3)
                for dx in range(-2, 3)
            ]
            found[y, x] = ((sum(window) / 25) ** (1 / power) + plane[y, x]) / 2
    return found


def test_published_numbers_from_the_map_to_the_vector() -> None:
    with np.load(shared_file("fixtures/superglobal.npz")) as fixture:
        given = {key: torch.from_numpy(fixture[key]) for key in fixture if fixture[key].ndim}
    regional = rgem(given["map"], 2.5)
    torch.testing.assert_close(regional, given["rgem_map"], rtol=1e-6, atol=3e-7)
    pooled = gem_map(given["rgem_map"], 4.6, 1e-8)
    torch.testing.assert_close(pooled[..., None], given["gem"], rtol=1e-6, atol=2e-7)
    for power, key in ((None, "inf"), (10.0, "10")):
        found = sgem(given[f"sgem_in_{key}"][:, None], power)[0]
        torch.testing.assert_close(found, given[f"sgem_{key}"], rtol=1e-6, atol=2e-7)


@pytest.mark.parametrize("size", [(3, 3), (4, 7), (6, 3)])
@pytest.mark.parametrize("power", [1.0, 2.5])
def test_rgem_equals_the_referee(size: tuple[int, int], power: float) -> None:
    x = a_map(2, 3, *size)
    expected = torch.stack([torch.stack([slow_rgem(c, power) for c in image]) for image in x])
    torch.testing.assert_close(rgem(x, power), expected, rtol=1e-12, atol=1e-12)


def test_a_constant_map_is_its_own_rgem_and_gem() -> None:
    x = torch.full((1, 2, 4, 5), 0.7, dtype=torch.float64)
    torch.testing.assert_close(rgem(x, 2.5), x)
    torch.testing.assert_close(gem_map(x, 4.6, 1e-8), x[..., 0, 0])


def test_a_batch_gives_what_single_images_give() -> None:
    x, vectors = a_map(4, 3, 5, 6), torch.randn(3, 4, 8, generator=torch.Generator().manual_seed(1))
    for n in range(4):
        one = slice(n, n + 1)
        torch.testing.assert_close(rgem(x, 2.5)[one], rgem(x[one], 2.5))
        for power in (None, 10.0):
            torch.testing.assert_close(sgem(vectors, power)[one], sgem(vectors[:, one], power))


def test_one_scale_is_kept() -> None:
    vectors = torch.randn(1, 2, 8, generator=torch.Generator().manual_seed(1)).double()
    torch.testing.assert_close(sgem(vectors, 3.0), vectors[0])
    torch.testing.assert_close(sgem(vectors), torch.nn.functional.normalize(vectors[0], dim=1))


def test_half_precision_is_pooled_in_float32() -> None:
    x = a_map(1, 2, 5, 5).half() / 1000
    assert rgem(x, 2.5).dtype == gem_map(x, 4.6, 1e-8).dtype == torch.float32
    torch.testing.assert_close(gem_map(x, 4.6, 1e-8), gem_map(x.double(), 4.6, 1e-8).float())


def test_maps_below_three_cells_are_refused() -> None:
    for size in ((2, 9), (9, 2), (1, 1)):
        with pytest.raises(BadInput, match="too small"):
            rgem(a_map(1, 2, *size), 2.5)
