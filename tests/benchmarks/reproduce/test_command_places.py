"""Rows of place recognition as a command: miniatures with planted lists, inside and outside."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from ames_lite.cli import prepare_set
from ames_lite.cli.compose import compose
from ames_lite.cli.shell import dataset_files
from ames_lite.datasets.image_lists import read_image_list
from ames_lite.errors import ConfigError
from ames_lite.records import Neighbors
from ames_lite.stores.neighbor_lists import write_neighbors
from benchmarks.reproduce import command as reproduce
from benchmarks.reproduce import outcomes as reproduction
from benchmarks.reproduce.rows import PLACE_ROWS as ROWS
from benchmarks.reproduce.rows import Reproduction
from tests.datasets.vpr.miniatures import MINIATURES

# Which row, the lists that are planted, and recall@1 and @5 by hand.
PLANTED = {
    # right are [0, 1], [0, 1, 2] and [1, 2]: the second and the third query find one at once
    "anyloc.gardens": ([[2, 0, 1], [0, 1, 2], [1, 2, 0]], (2 / 3, 1)),
    # right are [0, 1], [2] and none, which is a miss
    "anyloc.oxford": ([[1, 0, 2], [0, 2, 1], [0, 1, 2]], (1 / 3, 2 / 3)),
    # right are all but 5 and all but 0 of six
    "nardo_vitb.nardo_air": ([[5, 0, 1, 2, 3, 4], [0, 1, 2, 3, 4, 5]], (0, 1)),
    # everyone's own number
    "amstertime_cls.amstertime": ([[0, 1, 2], [1, 0, 2], [1, 2, 0]], (2 / 3, 1)),
    "amstertime_cls.amstertime_swapped": ([[0, 1, 2], [0, 1, 2], [0, 1, 2]], (1 / 3, 1)),
}


def plant(name: str, root: Path, made: dict[str, object]) -> None:
    """Lists, ground truth and neighbours of a miniature, under the names of a row."""
    row = ROWS[name]
    given = [f"{key}={value}" for key, value in row.settings.items() if key in ("dataset", "swap")]
    MINIATURES[row.settings["dataset"]].write(root)
    prepare_set.run(compose("prepare_set", [*given, f"data_root={root}"]))
    more = [f"desc_name={row.settings['desc_name']}", f"data_root={root}"]
    files = dataset_files(compose("evaluate", [*given, *more]))
    names = [read_image_list(files.image_list(side)).names for side in ("query", "gallery")]
    ids = np.array(PLANTED[name][0], np.int32)
    sims = np.linspace(1, 0, ids.shape[1], dtype=np.float32) + np.zeros(ids.shape, np.float32)
    path = files.neighbors_path(row.settings["neighbors"])
    write_neighbors(path, Neighbors(ids, sims, len(names[1])), *names, made)


def small(name: str, shift: float = 0.0) -> Reproduction:
    """A row whose numbers and counts are those of its miniature."""
    row, (ids, recalls) = ROWS[name], PLANTED[name]
    expected = dict(zip(("recall@1", "recall@5"), recalls, strict=True))
    expected["recall@5"] -= shift
    counts = {"query": len(ids), "gallery": len(ids[0])}
    return replace(row, expected=expected, counts=counts, tolerance=0.0005)


@pytest.mark.parametrize("name", PLANTED)
def test_a_planted_miniature_is_inside_and_a_broken_one_is_not(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    plant(name, tmp_path, dict(ROWS[name].made))
    given = [f"data_root={tmp_path}"]
    monkeypatch.setattr(reproduction, "ROWS", {name: small(name)})
    assert reproduce.main([name, *given, f"output_dir={tmp_path / 'a'}"]) == 0
    said = capsys.readouterr().out
    assert "first setting that differs: none that can be told" in said and "  NO" not in said
    assert f"{100 * PLANTED[name][1][0]:.2f}" in said and "not to be told:" in said
    written = json.loads((tmp_path / "a" / name / "results.json").read_text())
    assert written["global"]["recall@5"] == pytest.approx(PLANTED[name][1][1])
    monkeypatch.setattr(reproduction, "ROWS", {name: small(name, shift=0.01)})
    assert reproduce.main([name, *given, f"output_dir={tmp_path / 'b'}"]) == 4
    assert capsys.readouterr().out.count("  NO") == 1


def test_a_miniature_is_told_from_the_set_that_was_published(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    plant("anyloc.gardens", tmp_path, dict(ROWS["anyloc.gardens"].made))
    given = ["anyloc.gardens", f"data_root={tmp_path}", f"output_dir={tmp_path / 'run'}"]
    assert reproduce.main(given) == 4
    assert "query images: 200 published, 3 here" in capsys.readouterr().out


def test_lists_of_another_make_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    name = "anyloc.gardens"
    plant(name, tmp_path, {**ROWS[name].made, "facet": "key"})
    monkeypatch.setattr(reproduction, "ROWS", {name: small(name)})
    assert reproduce.main([name, f"data_root={tmp_path}", f"output_dir={tmp_path / 'a'}"]) == 0
    assert "facet of the neighbour lists: value published, key here" in capsys.readouterr().out


def test_missing_files_are_listed_with_the_commands_that_make_them(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert reproduce.main(["anyloc", f"data_root={tmp_path}"]) == 1
    said = capsys.readouterr().err
    assert "48 files are missing" in said
    assert str(tmp_path / "VPAir" / "nn_anyloc_vitg_aerial_vlad.hdf5") in said
    assert "scripts/prepare_set.py dataset=vpair" in said
    assert "scripts/place_recognition.py experiment=anyloc_aerial" in said
    assert not list(tmp_path.iterdir())


def test_settings_of_reranking_are_refused_for_a_global_ranking(tmp_path: Path) -> None:
    for word in ("lamb=0.5", "num_rerank=10", "weights=some"):
        with pytest.raises(ConfigError, match=f"{word.split('=')[0]}= changes nothing"):
            reproduce.run(compose("reproduce", ["row=anyloc.gardens", word]))
