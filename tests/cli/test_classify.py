"""The command: labelled pictures in; tables, pictures, a model out, which classifies new ones."""

from __future__ import annotations

import json
import shlex
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ames_lite import cli
from ames_lite.classification.data import TEST
from ames_lite.classification.judging import Judged
from ames_lite.cli import build_vocabulary, classify, extract_descriptors, extract_globals
from ames_lite.cli.compose import compose
from ames_lite.errors import BadInput, ConfigError, MissingFile
from ames_lite.io.images import save_jpeg

ROOMS = ("bath", "bed", "kitchen")
HOUSES = ("north", "south", "east", "west")


def picture(room: int, house: int, number: int) -> np.ndarray:
    """Stripes of a width that the room says, in the hue of the house."""
    rng = np.random.default_rng((room, house, number))
    stripes = (np.arange(56) // (2 + 3 * room)) % 2
    hue = np.random.default_rng(house).integers(60, 255, 3)
    image = np.outer(np.ones(56), stripes)[..., None] * hue + rng.integers(0, 40, (56, 56, 3))
    return np.minimum(image, 255).astype(np.uint8)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data root with the set `rooms`, described by a tiny network; one picture is none."""
    root = tmp_path_factory.mktemp("root")
    (root / "images").mkdir()
    rows = ["file,label,scene"]
    for room, name in enumerate(ROOMS):
        for house, scene in enumerate(HOUSES):
            for number in range(3):
                file = f"{name}_{scene}_{number}.jpg"
                save_jpeg(root / "images" / file, picture(room, house, number), 95)
                rows.append(f"{file}, {name} ,{scene}")
    (root / "images" / "bed_south_1.jpg").write_bytes(b"no picture")
    (root / "labels.csv").write_text("\n".join(rows))
    own = [f"images={root / 'images'}", f"labels={root / 'labels.csv'}", "on_bad_image=skip"]
    more = ["splits=[gallery]", "workers=1", "backbone.arguments.image_size=56"]
    extract_descriptors.run(compose("extract_descriptors", [*given(root), *own, *more]))
    built = ["split=gallery", "num_clusters=6"]
    build_vocabulary.run(compose("build_vocabulary", [*given(root), *built]))
    extract_globals.run(compose("extract_globals", [*given(root), "splits=[gallery]"]))
    return root


def given(root: Path) -> list[str]:
    return ["dataset=folder", "name=rooms", "desc_name=tiny_random", f"data_root={root}"]


def run(root: Path, output: Path, *more: str) -> list[Judged]:
    words = [*given(root), "epochs=4", "hidden=8", "workers=1", "device=cpu"]
    words += ["backbone.arguments.image_size=56", f"output_dir={output}"]
    found: list[Judged] = classify.run(compose("classify", [*words, *more]))
    return found


def test_a_run_leaves_tables_pictures_and_a_model(
    root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("sklearn")
    found = run(root, tmp_path / "run", "global=vlad", "clusters=3", "tsne=[1,4]", "show=5")
    said = capsys.readouterr().out
    assert "1 images could not be described: left out" in said and "3 classes; images: " in said
    names = [str(one.classifier) for one in found]
    wanted = {f"{name}{of}" for name in ("mlp", "knn", "logistic") for of in ("", " of 3 clusters")}
    assert {*names} == wanted
    assert [one.order for one in found] == sorted(one.order for one in found)
    pictures = {path.name for path in (tmp_path / "run").glob("*.png")}
    assert pictures == {
        *("confusion.png", "reliability.png", "epochs_mlp.png", "epochs_mlp_of_3_clusters.png"),
        *("tsne_001.png", "tsne_004.png", "tsne_of_3_clusters_001.png", "clusters.png"),
        "tsne_of_3_clusters_004.png",
    }
    results = json.loads((tmp_path / "run" / "classification.json").read_text())
    assert results["best"] == names[0] and results["classes"] == list(ROOMS)
    assert [row["classifier"] for row in results["classifiers"]] == [n.split()[0] for n in names]
    _check_images(results)


def _check_images(results: dict[str, Any]) -> None:
    """Classes of single images agree with the tables."""
    images = results["images"]
    assert len(images) == 35 and "bed_south_1.jpg" not in {one["name"] for one in images}
    sides = {one["name"].split("_")[1]: {one["side"]} for one in images}
    for one in images:
        assert one["name"].startswith(one["class"])
        sides[one["name"].split("_")[1]] |= {one["side"]}
    assert all(len(of_house) == 1 for of_house in sides.values())
    test = [one for one in images if one["side"] == "test"]
    right = [one["class"] == one["predicted"] for one in test]
    assert results["classifiers"][0]["test"] == pytest.approx(np.mean(right))
    counts = np.zeros((3, 3), int)
    for one in test:
        counts[ROOMS.index(one["class"]), ROOMS.index(one["predicted"])] += 1
    assert results["confusion"] == counts.tolist()
    for at, row in enumerate(results["per_class"]):
        assert (
            row["recall"] == counts[at, at] / counts[at].sum() and row["test"] == counts[at].sum()
        )


@pytest.mark.parametrize("words", [["global=cls"], ["global=vlad", "clusters=[4,1]"]])
def test_predicted_is_what_the_run_said_of_the_same_image(
    words: list[str], root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    judged = run(root, tmp_path / "runs" / "classify_x", "classifiers=[mlp,knn]", *words)[0]
    results = json.loads((tmp_path / "runs" / "classify_x" / "classification.json").read_text())
    images = {one["name"]: one for one in results["images"]}
    monkeypatch.chdir(tmp_path)  # where runs/ is: the newest model is used
    config = compose("classify", [f"predict={root / 'images'}", "on_bad_image=skip", "workers=1"])
    found = classify.run(config)
    assert found.keys() == images.keys()
    for name, one in found.items():
        assert list(one) == [*dict(sorted(one.items(), key=lambda pair: -pair[1]))]
        assert sum(one.values()) == pytest.approx(1)  # of three classes
        assert one[images[name]["predicted"]] == pytest.approx(
            images[name]["probability"], abs=1e-4
        )
    assert judged.accuracy.keys() == {"train", "val", "test"}


def test_the_command_line_takes_predict_and_an_image(
    root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run(root, tmp_path / "run", "classifiers=[knn]")
    capsys.readouterr()
    words = ["predict", str(root / "images" / "bed_east_0.jpg"), "workers=1", "top=2"]
    assert cli.run("classify", [*words, f"weights={tmp_path / 'run' / 'model'}"]) == 0
    _, _, first, second = capsys.readouterr().out.splitlines()
    assert {first.split()[1], second.split()[1]} <= {*ROOMS}
    assert float(first.split()[2]) >= float(second.split()[2])
    words[1] = str(root / "images" / "bed_south_1.jpg")
    assert cli.run("classify", [*words, f"weights={tmp_path / 'run' / 'model'}"]) == 1
    assert "1 images cannot be described" in capsys.readouterr().err


def test_named_queries_are_tested_and_scenes_may_be_a_pattern(root: Path, tmp_path: Path) -> None:
    data_root = tmp_path / "data"
    (data_root / "other").mkdir(parents=True)
    rows = (root / "labels.csv").read_text().splitlines()
    split = ["query" if "_west_" in row else "gallery" for row in rows[1:]]
    table = ["file,label,split"] + [
        f"{row.rsplit(',', 1)[0]},{side}" for row, side in zip(rows[1:], split, strict=True)
    ]
    (tmp_path / "labels.csv").write_text("\n".join(table))
    own = [f"images={root / 'images'}", f"labels={tmp_path / 'labels.csv'}", "name=other"]
    words = ["dataset=folder", "desc_name=tiny_random", f"data_root={data_root}", *own]
    with pytest.raises(MissingFile, match="global descriptors"):
        classify.run(compose("classify", words))
    more = ["outputs=[global]", "workers=1", "on_bad_image=skip"]
    size = "backbone.arguments.image_size=56"
    extract_descriptors.run(compose("extract_descriptors", [*words, *more, size]))
    scene, output = "scene=_(\\w+)_", f"output_dir={tmp_path / 'run'}"
    judged = classify.run(compose("classify", [*words, scene, output, "classifiers=[knn]", size]))
    results = json.loads((tmp_path / "run" / "classification.json").read_text())
    west = {one["name"] for one in results["images"] if one["side"] == "test"}
    assert west and all("_west_" in name for name in west)
    assert len(judged) == 1 and TEST == 2


@pytest.mark.parametrize(
    "words, kind, said",
    [
        (["classifiers=[]"], ConfigError, "some of mlp"),
        (["tsne=[9]"], ConfigError, "epochs from 1 to 4"),
        (["clusters=3"], ConfigError, "global=vlad"),
        (["global=vlad", "clusters=7"], ConfigError, "1 to 6 clusters"),
        (["scene=nowhere"], ConfigError, "not in the name"),
        (["test_share=1.5"], ConfigError, "test_share=1.5"),
        (["lr=1e30"], BadInput, "not finite"),
    ],
)
def test_what_cannot_be_done_is_said(
    words: list[str], kind: type[Exception], said: str, root: Path, tmp_path: Path
) -> None:
    if "=3" in words[0] or "=7" in words[-1] or "tsne" in words[0]:
        pytest.importorskip("sklearn")
    with pytest.raises(kind, match=said):
        run(root, tmp_path / "run", *(["classifiers=[mlp]"] if "lr" in words[0] else []), *words)


def test_without_scikit_learn_the_extra_is_named(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "sklearn", None)
    with pytest.raises(BadInput, match=r"ames_lite\[views\]"):
        run(root, tmp_path / "run")
    assert len(run(root, tmp_path / "run", "classifiers=[mlp,knn]")) == 2


def test_other_descriptors_than_the_model_knows_are_refused(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(root, tmp_path / "run", "classifiers=[knn]", "backbone.arguments.seed=5")
    words = [f"predict={root / 'images'}", f"weights={tmp_path / 'run' / 'model'}", "workers=1"]
    with pytest.raises(BadInput, match="weights is "):
        classify.run(compose("classify", words))
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match="weights="):
        classify.run(compose("classify", words[:1]))


@pytest.mark.slow
def test_the_documented_commands_run_as_they_stand(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("sklearn")
    page = (Path(__file__).parents[2] / "docs" / "classification.md").read_text("utf-8")
    lines = page.split("```bash\n")[1].split("```")[0].splitlines()
    commands = [shlex.split(line) for line in lines if line.startswith("ames ")]
    for room, name in enumerate(("bath", "bed", "kitchen")):
        (tmp_path / "rooms" / name).mkdir(parents=True)
        for house, scene in enumerate(("elm", "fir", "oak")):
            for number in (1, 2):
                file = tmp_path / "rooms" / name / f"{scene}_{number}.jpg"
                save_jpeg(file, picture(room, house, number), 95)
    monkeypatch.chdir(tmp_path)
    quick = [f"data_root={tmp_path / 'data'}", "workers=1", "device=cpu"]
    for _, name, *words in commands:
        assert cli.run(name, [*words, *quick]) == 0, capsys.readouterr().err
    assert len(commands) == 3 and len([*(tmp_path / "runs").iterdir()]) == 2
    assert list((tmp_path / "runs").glob("*/tsne_of_4_clusters_010.png"))
