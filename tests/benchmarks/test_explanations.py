"""What is measured of explanations: the geometry of a rendered world, and a whole run."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from ames_lite.cli import evaluate
from ames_lite.cli.compose import compose
from ames_lite.errors import ConfigError, MissingFile
from ames_lite.synthetic.views import project
from benchmarks.explanations import NEAR, Geometry, main, measured
from tests.conftest import TinyWorld


@pytest.mark.slow
def test_points_of_the_landmark_are_the_same_point(tiny_world: TinyWorld) -> None:
    geometry = Geometry(tiny_world.folder())
    names = [str(name) for name in geometry.found["name"] if "landmark0001" in name][:2]
    points = np.random.default_rng(0).uniform(50, 150, (30, 2))  # of the facade
    places = [project(geometry.homography(name), points) for name in names]
    assert geometry.true((names[0], names[1]), places, 1e-6).all()
    moved = [places[0], places[1] + [0, 30]]
    assert not geometry.true((names[0], names[1]), moved, 29).any()
    x1, y1, x2, y2 = geometry.box(names[0], (240, 320))
    assert 0 <= x1 < x2 <= 320 and 0 <= y1 < y2 <= 240 and NEAR == 0.05


def a_world_without_geometry(world: TinyWorld, folder: Path) -> Path:
    folder.mkdir()
    shutil.copy(world.folder() / "world.json", folder)
    return folder


@pytest.mark.slow
def test_a_run_is_measured(tiny_world: TinyWorld, tmp_path: Path, capsys) -> None:  # type: ignore[no-untyped-def]
    given = ["dataset=synthetic", "desc_name=sift", f"data_root={tiny_world.root}", "lamb=0"]
    given += ["model=mutual_nn", "temp=1", "num_rerank=10", f"output_dir={tmp_path / 'run'}"]
    results = evaluate.run(compose("evaluate", given))
    name, pairs = measured(tmp_path / "run")
    assert name == "mutual_nn" and 0 < len(pairs) <= len(results["per_query"])
    values = np.array(pairs)
    assert (values >= 0).all() and (values[:, :4] <= 1).all() and values[:, 0].max() > 0.1
    np.testing.assert_allclose(values[:, 0], values[:, 1])  # each match weighs 1
    with pytest.raises(ConfigError, match="no run is given"):
        main([])
    with pytest.raises(MissingFile, match="no results here"):
        main([str(tmp_path)])
    with pytest.raises(MissingFile, match="no rendered world"):
        Geometry(a_world_without_geometry(tiny_world, tmp_path / "world"))
    main([str(tmp_path / "run")])
    assert capsys.readouterr().out.split()[-7:-5] == ["mutual_nn", str(len(pairs))]
