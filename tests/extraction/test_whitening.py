"""The laws of a fitted whitening: of the named list alone, and used on its own kind alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from ames_lite.errors import BadInput
from ames_lite.extraction.aggregators import FittedWhitening
from ames_lite.extraction.fitting import fit_whitening
from ames_lite.extraction.globals import extract_globals, from_globals
from ames_lite.io.digest import names_digest
from ames_lite.retrieval.whitening import fit_class_whitening, whiten
from ames_lite.retrieval.whitening import fit_whitening as fit
from ames_lite.stores.fitted import read_whitening
from ames_lite.stores.global_store import GlobalStore
from ames_lite.stores.row_writer import GlobalWriter
from tests.stores.files import read_globals, rewritten, write_globals

NAMES = tuple(f"{i}.jpg" for i in range(40))
D = 24
MADE = {"backbone": "tiny", "global": "vlad", "vocabulary": "v", "normalisation": "L2"}
BAD = {7: "cut short", 20: "missing"}


def vectors(seed: int = 0, width: int = D) -> np.ndarray:
    rng = np.random.default_rng(seed)
    values = rng.standard_normal((40, width)) * np.linspace(2, 0.3, width) + 0.3
    return (values / np.linalg.norm(values, axis=1, keepdims=True)).astype(np.float32)


def globals_file(path: Path, seed: int = 0, width: int = D, **made: Any) -> Path:
    with GlobalWriter(path, NAMES, width, {**MADE, **made}) as writer:
        failed = {NAMES[row]: why for row, why in BAD.items()}
        writer.extend(NAMES, vectors(seed, width), failed)
    return path


def whitened(source: Path, whitening: Path, output: Path) -> np.ndarray:
    with GlobalStore(source) as store:
        fitted = FittedWhitening(whitening)
        extract_globals(from_globals(store), output, whitening=fitted, on_bad_image="skip")
    return read_globals(output)[1]


def test_it_is_fitted_on_what_did_not_fail_and_names_it(tmp_path: Path) -> None:
    source = globals_file(tmp_path / "g.hdf5")
    path = fit_whitening(source, tmp_path / "p.npz", dim=6)
    found, names, made = read_whitening(path)
    good = [row for row in range(40) if row not in BAD]
    expected = fit(vectors()[good], 6)
    np.testing.assert_array_equal(found.components, expected.components)
    np.testing.assert_array_equal(found.mean, expected.mean)
    assert names == tuple(NAMES[row] for row in good)
    assert made["image_names"] == names_digest(names) and made["images"] == 38
    assert (made["vocabulary"], made["dim"], made["fitted_on"]) == ("v", 6, "g.hdf5")
    again = fit_whitening(source, tmp_path / "q.npz", dim=6)
    assert again.read_bytes() == path.read_bytes()


def test_a_sample_is_spread_over_the_list(tmp_path: Path) -> None:
    source = globals_file(tmp_path / "g.hdf5")
    path = fit_whitening(source, tmp_path / "p.npz", dim=4, max_images=10)
    found, names, _ = read_whitening(path)
    rows = [NAMES.index(name) for name in names]
    assert len(rows) == 10 and rows == sorted(rows) and (rows[0], rows[-1]) == (0, 39)
    assert not BAD.keys() & set(rows)
    np.testing.assert_allclose(found.mean, vectors()[rows].mean(axis=0), atol=1e-6)


def test_what_comes_out_is_whitened_then_of_unit_length(tmp_path: Path) -> None:
    path = fit_whitening(globals_file(tmp_path / "g.hdf5"), tmp_path / "p.npz", dim=6)
    other = globals_file(tmp_path / "o.hdf5", seed=1)
    found = whitened(other, path, tmp_path / "ow.hdf5")
    expected = whiten(vectors(1), read_whitening(path)[0])
    expected /= np.linalg.norm(expected, axis=1, keepdims=True)
    good = [row for row in range(40) if row not in BAD]
    np.testing.assert_allclose(found[good], expected[good], atol=1e-6)
    assert found.shape == (40, 6)
    with GlobalStore(tmp_path / "ow.hdf5") as store:
        assert store.failed(0, 40) == BAD
        assert store.provenance["global"] == "vladw" and len(store.provenance["whitening"]) == 64
        assert store.provenance["normalisation"] == "L2; whitened, then L2"


def test_files_of_older_runs_and_published_ones_are_fitted_on(tmp_path: Path) -> None:
    old = write_globals(tmp_path / "old.hdf5", NAMES, vectors(), MADE)
    with h5py.File(tmp_path / "published.hdf5", "w") as file:
        file["features"] = vectors()
    new = fit_whitening(tmp_path / "published.hdf5", tmp_path / "p.npz", dim=6, names=NAMES)
    a, b = (read_whitening(path) for path in (new, fit_whitening(old, tmp_path / "o.npz", dim=6)))
    np.testing.assert_array_equal(a[0].components, b[0].components)
    assert a[1] == b[1] == NAMES
    with pytest.raises(BadInput, match="without names"):
        fit_whitening(tmp_path / "published.hdf5", tmp_path / "x.npz", dim=6)


def test_what_is_of_another_kind_is_refused_with_both_sides_named(tmp_path: Path) -> None:
    path = fit_whitening(globals_file(tmp_path / "g.hdf5"), tmp_path / "p.npz", dim=6)
    for number, made in enumerate(
        [{"vocabulary": "w"}, {"backbone": "other"}, {"global": "gem"}, {"layer": 3}]
    ):
        (key,) = made
        other = globals_file(tmp_path / f"{number}.hdf5", **made)
        with pytest.raises(BadInput, match=f"{key} is .* in this run and .*p.npz"):
            whitened(other, path, tmp_path / "x.hdf5")
    wide = globals_file(tmp_path / "wide.hdf5", width=30)
    with pytest.raises(BadInput, match="width 30, the whitening 24") as caught:
        whitened(wide, path, tmp_path / "x.hdf5")
    assert str(path) in str(caught.value) and not (tmp_path / "x.hdf5").exists()


def test_data_that_hold_too_little_are_refused_with_their_file(tmp_path: Path) -> None:
    source = globals_file(tmp_path / "g.hdf5")
    for dim, more, what in [
        (25, {}, "dim is 25, for 38 descriptors of width 24"),
        (9, {"max_images": 9}, "dim is 9, for 9 descriptors"),
        (6, {"max_images": 0}, "max_images is 0"),
    ]:
        with pytest.raises(BadInput, match=what):
            fit_whitening(source, tmp_path / "p.npz", dim=dim, **more)
    damaged = globals_file(tmp_path / "nan.hdf5")
    with rewritten(damaged) as file:
        file["descriptors"][3, 2] = np.nan
    with pytest.raises(BadInput, match=r"'3.jpg' \(row 3\) has NaN") as caught:
        fit_whitening(damaged, tmp_path / "p.npz", dim=6)
    assert str(damaged) in str(caught.value)
    path = fit_whitening(source, tmp_path / "p.npz", dim=6)
    with pytest.raises(BadInput, match="exists already"):
        fit_whitening(source, path, dim=6)


def test_within_classes_it_is_fitted_with_the_labels_of_what_did_not_fail(tmp_path: Path) -> None:
    source, labels = globals_file(tmp_path / "g.hdf5"), np.arange(40) // 5
    path = fit_whitening(source, tmp_path / "p.npz", method="within_class", dim=6, labels=labels)
    found, _, made = read_whitening(path)
    good = [row for row in range(40) if row not in BAD]
    expected = fit_class_whitening(vectors()[good], labels[good], 6, 0.3)
    np.testing.assert_array_equal(found.components, expected.components)
    assert found.remainder == expected.remainder and found.dim == D
    assert (made["method"], made["shrinkage"]) == ("within classes", 0.3)
    result = whitened(source, path, tmp_path / "gw.hdf5")
    wanted = whiten(vectors()[good], found)
    wanted /= np.linalg.norm(wanted, axis=1, keepdims=True)
    np.testing.assert_allclose(result[good], wanted, atol=1e-6)


def test_within_classes_wants_labels_and_a_known_method(tmp_path: Path) -> None:
    source = globals_file(tmp_path / "g.hdf5")
    with pytest.raises(BadInput, match="0 labels, 40 images"):
        fit_whitening(source, tmp_path / "p.npz", method="within_class")
    with pytest.raises(BadInput, match="pca, within_class"):
        fit_whitening(source, tmp_path / "p.npz", method="lda")
