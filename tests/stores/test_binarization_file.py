"""The laws of projections on disk."""

from pathlib import Path

import numpy as np
import pytest

from ames_lite.errors import BadInput, MissingFile
from ames_lite.stores.fitted import read_binarization, write_binarization

W = np.random.default_rng(0).standard_normal((12, 8))


def test_what_is_written_is_read_as_float32(tmp_path: Path) -> None:
    path = write_binarization(tmp_path / "itq.npz", W, {"bits": 8})
    projection, provenance = read_binarization(path)
    np.testing.assert_array_equal(projection, W.astype(np.float32))
    assert provenance == {"bits": 8} and projection.dtype == np.float32


def test_what_is_no_projection_is_refused(tmp_path: Path) -> None:
    for bad, match in ((W[0], "projections"), (W * np.nan, "NaN"), (W[:, :7], "7 bits")):
        with pytest.raises(BadInput, match=match):
            write_binarization(tmp_path / "itq.npz", bad, {})
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(MissingFile, match="fit the binarization"):
        read_binarization(tmp_path / "no.npz")
    np.savez(tmp_path / "vlad.npz", centroids=W)
    with pytest.raises(BadInput, match="projection"):
        read_binarization(tmp_path / "vlad.npz")
