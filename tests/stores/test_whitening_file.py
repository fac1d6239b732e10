"""A whitening on disk: what is written is read, and what is damaged is refused."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from ames_lite.errors import BadInput, MissingFile
from ames_lite.retrieval.whitening import Whitening
from ames_lite.stores.fitted import read_whitening, write_whitening

NAMES = ("a.jpg", "ü, b.jpg", "c\udcff.jpg")  # the last one is not UTF-8 on disk


def whitening() -> Whitening:
    rng = np.random.default_rng(0)
    parts = (rng.standard_normal(5), rng.standard_normal((2, 5)), np.array([2.0, 1.0]))
    return Whitening(*(part.astype(np.float32) for part in parts))


def save(path: Path, parts: dict[str, np.ndarray], **provenance: object) -> Path:
    made = np.frombuffer(json.dumps(provenance).encode(), np.uint8)
    np.savez(path, **parts, provenance=made)  # type: ignore[arg-type]
    return path


def test_what_is_written_is_read(tmp_path: Path) -> None:
    path = write_whitening(tmp_path / "p.npz", whitening(), NAMES, {"backbone": "tiny", "dim": 2})
    found, names, made = read_whitening(path)
    for part in ("mean", "components", "variance"):
        np.testing.assert_array_equal(getattr(found, part), getattr(whitening(), part))
    assert names == NAMES and made == {"backbone": "tiny", "dim": 2}
    with pytest.raises(BadInput, match="exists already"):
        write_whitening(path, whitening(), NAMES, {})


def test_a_remainder_is_kept(tmp_path: Path) -> None:
    fitted = replace(whitening(), remainder=0.5)
    found, _, made = read_whitening(write_whitening(tmp_path / "p.npz", fitted, NAMES, {}))
    assert found.remainder == made["remainder"] == 0.5 and found.dim == 5
    parts = {part: getattr(fitted, part) for part in ("mean", "components", "variance")}
    parts["names"] = np.frombuffer(b'["a"]', np.uint8)
    for number, wrong in enumerate(("half", -0.5)):
        path = save(tmp_path / f"{number}.npz", parts, remainder=wrong)
        with pytest.raises(BadInput, match=f"{number}.npz"):
            read_whitening(path)


def test_what_is_damaged_is_refused(tmp_path: Path) -> None:
    with pytest.raises(MissingFile, match="fit the whitening anew"):
        read_whitening(tmp_path / "absent.npz")
    good = {part: getattr(whitening(), part) for part in ("mean", "components", "variance")}
    names = np.frombuffer(b'["a"]', np.uint8)
    for number, wrong in enumerate(
        [
            {**good, "names": names, "variance": -good["variance"]},
            {**good, "names": names, "mean": good["mean"][1:]},
            {**good, "names": names, "mean": np.arange(5)},
            {**good, "names": names, "components": good["components"] * np.nan},
            {**good, "names": np.frombuffer(b"[1, 2", np.uint8)},
            {**good, "names": np.frombuffer(b"[1, 2]", np.uint8)},
            {**good},
            {"mean": good["mean"], "names": names},
        ]
    ):
        path = save(tmp_path / f"{number}.npz", wrong)
        with pytest.raises(BadInput, match=f"{number}.npz"):
            read_whitening(path)
