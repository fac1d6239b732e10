"""The benchmark of databases, at a size that takes seconds."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from benchmarks.databases import BLOCK, WIDTH, blocks, drawn, exact, measured


def test_the_vectors_are_clustered_of_unit_length_and_the_same_every_time() -> None:
    rows = drawn(400, 0, 400)
    np.testing.assert_allclose(np.linalg.norm(rows, axis=1), 1, rtol=1e-5)
    sims = np.sort((rows @ rows.T)[0])[::-1]
    assert sims[50] > 0.5 > 0.2 > sims[200] and rows.shape == (400, WIDTH)
    np.testing.assert_array_equal(rows, drawn(400, 0, 400))
    assert [len(names) for names, _ in blocks(BLOCK + 5)] == [BLOCK, 5]


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["index folder", "lancedb"])
def test_a_row_of_the_table_has_everything(kind: str, tmp_path: Path) -> None:
    if kind != "index folder":
        pytest.importorskip(kind)
    one, wanted = measured(kind, 500, tmp_path), exact(500)
    shared = [len(set(a) & set(b)) for a, b in zip(one["found"], wanted, strict=True)]
    assert np.mean(shared) > 99 and one["mb"] > 1 and min(one["ms"], one["seconds"]) > 0
