"""AnyLoc's published centroids: a plain tensor, read without trust, used as it was published."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from ames_lite.errors import BadInput, MissingFile
from ames_lite.stores.fitted import read_vocabulary
from tests.stores.files import open_vocabulary


def tensor(clusters: int = 32, width: int = 1536) -> torch.Tensor:
    return torch.randn(clusters, width, generator=torch.Generator().manual_seed(0)) / 50


def saved(path: Path, content: Any) -> Path:
    torch.save(content, path)
    return path


def test_the_published_file_is_a_vocabulary(tmp_path: Path) -> None:
    path = saved(tmp_path / "c_centers.pt", tensor())
    centroids, provenance = read_vocabulary(path)
    assert centroids.dtype == np.float32 and centroids.shape == (32, 1536)
    np.testing.assert_array_equal(centroids, tensor().numpy())
    assert provenance["origin"] == "published"
    assert (provenance["variant"], provenance["facet"], provenance["layer"]) == (
        "vitg14",
        "value",
        31,
    )
    found = open_vocabulary(path)
    assert (found.distance, found.unit) == ("cosine", True)


def test_of_other_shapes_no_backbone_is_claimed(tmp_path: Path) -> None:
    path = saved(tmp_path / "c_centers.pt", tensor(8, 64).double().requires_grad_())
    centroids, provenance = read_vocabulary(path)
    assert centroids.dtype == np.float32 and not {"backbone", "layer"} & set(provenance)


def test_what_is_no_vocabulary_is_refused(tmp_path: Path) -> None:
    broken = tensor(4, 6)
    broken[1, 2] = torch.nan
    path = tmp_path / "c_centers.pt"
    for content, part in [
        (broken, "NaN"),
        (torch.ones(3, 4, dtype=torch.int64), "int64"),
        (tensor(1, 6)[0], "centroids are"),
        (torch.empty(0, 6), "centroids are"),
        ({"centers": tensor(4, 6)}, "holds a dict"),
        (Path("/"), "cannot be read as weights alone"),
        (tensor(4, 6).to_sparse(), "a torch.sparse_coo tensor"),
    ]:
        with pytest.raises(BadInput, match=part) as error:
            read_vocabulary(saved(path, content))
        assert str(path) in str(error.value) and "c_centers.pt" in str(error.value)
    path.write_bytes(b"no weights")
    with pytest.raises(BadInput, match="cannot be read"):
        read_vocabulary(path)
    with pytest.raises(MissingFile):
        read_vocabulary(tmp_path / "absent.pt")
