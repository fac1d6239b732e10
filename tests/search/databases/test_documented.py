"""The example of docs/databases.md runs as it stands, on a collection that is not ours."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.search.photos import save_photos
from tests.test_readme import block_with


def test_a_collection_of_ones_own_is_reranked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    lancedb = pytest.importorskip("lancedb")
    images = save_photos(tmp_path / "images")
    for path in [*images.glob("b_*"), *images.glob("d_*"), images / "a_2.jpg"]:
        path.unlink()
    names = sorted(path.name for path in images.iterdir())
    vectors = np.eye(5, 16, dtype=np.float32) + 0.1
    rows = [{"path": n, "embedding": v} for n, v in zip(names, vectors, strict=True)]
    lancedb.connect(tmp_path / "vectors").create_table("photos", rows)
    monkeypatch.chdir(tmp_path)
    code = block_with("open_database", "databases.md")
    assert len([line for line in code.splitlines() if line.strip()]) <= 10
    scope = {"vector": vectors[0], "images": images, "query": images / "c_1.jpg"}
    exec(compile(code, "databases.md", "exec"), scope)
    printed = [line.split()[0] for line in capsys.readouterr().out.splitlines()]
    assert sorted(Path(name).name for name in printed) == names
    assert {Path(name).name for name in printed[:3]} == {"c_0.jpg", "c_1.jpg", "c_2.jpg"}
