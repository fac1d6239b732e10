"""A folder of one's own, as a user gives it: prepared, extracted, evaluated by its protocol."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ames_lite.cli import evaluate, extract_descriptors, prepare_dataset
from ames_lite.cli.compose import compose
from ames_lite.cli.own_folder import prepare_command, settle
from ames_lite.cli.shell import data_root
from ames_lite.datasets.custom.files import read_description
from ames_lite.datasets.image_lists import read_image_list
from ames_lite.errors import BadInput, ConfigError, MissingFile
from ames_lite.io.images import save_jpeg
from ames_lite.records import Neighbors
from ames_lite.stores.descriptor_store import DescriptorStore
from ames_lite.stores.neighbor_lists import write_neighbors
from tests.helpers import in_process, main_of, touch


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two folders of three pictures; those of one number show the same."""
    root = tmp_path_factory.mktemp("pictures")
    rng = np.random.default_rng(0)
    for number in range(3):
        coarse = rng.integers(0, 256, (12, 12, 3), np.uint8)
        picture = np.kron(coarse, np.ones((10, 10, 1), np.uint8))
        for side in ("old", "new"):
            (root / side).mkdir(exist_ok=True)
            save_jpeg(root / side / f"{number}.jpg", picture, 95 if side == "old" else 70)
    return root


def prepared(root: Path, *given: str) -> Path:
    options = [f"data_root={root}", "name=own", *given]
    return prepare_dataset.run(compose("prepare_dataset", options))


def extracted(root: Path, *given: str) -> None:
    options = ["dataset=folder", "name=own", "desc_name=sift", f"data_root={root}", "workers=1"]
    extract_descriptors.run(
        compose("extract_descriptors", [*options, "backbone.arguments.top_k=30", *given])
    )


def evaluated(root: Path, output: Path, *given: str) -> dict[str, Any]:
    """Evaluate on lists in which every query sees the gallery in order, itself left out."""
    names = [read_image_list(root / "own" / f"{side}.txt").names for side in ("query", "gallery")]
    ids = [[row for row, g in enumerate(names[1]) if g != q] for q in names[0]]
    shortest = min(map(len, ids))
    order = np.array([row[:shortest] for row in ids], np.int32)
    sims = np.broadcast_to(np.linspace(0.9, 0.1, shortest, dtype=np.float32), order.shape)
    path = output.with_suffix(".hdf5")
    write_neighbors(path, Neighbors(order, sims.copy(), len(names[1])), *names, {})
    options = ["dataset=folder", "name=own", "desc_name=sift", f"data_root={root}"]
    options += ["model=chamfer", "lamb=0.0", "temp=1.0", "num_rerank=10", f"neighbors={path}"]
    options.append("report_queries=0")
    return evaluate.run(compose("evaluate", [*options, f"output_dir={output}", *given]))


def description(root: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((root / "own" / "dataset.json").read_text())
    return content


def test_two_folders_with_pairs_go_from_pixels_to_metrics(pictures: Path, tmp_path: Path) -> None:
    labels = tmp_path / "pairs.csv"
    labels.write_text("query,gallery\n0.jpg,0.jpg\n1.jpg,1.jpg\n2.jpg,2.jpg\n")
    folders = [f"images={pictures / 'new'}", f"query_images={pictures / 'old'}"]
    prepared(tmp_path, *folders, f"labels={labels}")
    extracted(tmp_path)  # where the images are stands in dataset.json
    store = DescriptorStore.open(tmp_path / "own" / "sift_query_local.hdf5")
    assert store.names == ("old/0.jpg", "old/1.jpg", "old/2.jpg") and store.count.min() > 0
    results = evaluated(tmp_path, tmp_path / "run")
    assert results["config"]["dataset"]["protocol"] == "instance"
    assert results["config"]["images"] == str(pictures)
    assert results["global"]["map@100"] == pytest.approx((1 + 1 / 2 + 1 / 3) / 3)  # by eye
    assert results["rows"][0]["metrics"]["map@100"] == 1  # the same picture, found again
    again = evaluated(tmp_path, tmp_path / "again", folders[0], f"labels={labels}")
    assert again["rows"] == results["rows"]


def test_a_set_knows_its_protocol_and_its_role(pictures: Path, tmp_path: Path) -> None:
    graded = tmp_path / "graded.csv"
    rows = ["0.jpg,new/0.jpg,easy", "0.jpg,old/1.jpg,hard", "0.jpg,new/1.jpg,junk"]
    graded.write_text("query,gallery,grade\n" + "".join(f"old/{row}\n" for row in rows))
    places = tmp_path / "places.csv"
    rows = [f"{side}/{n}.jpg,{n * 20},0\n" for side in ("old", "new") for n in range(3)]
    places.write_text("file,x,y\n" + "".join(rows))
    cases: list[tuple[Path, str, str]] = [
        (graded, "revisitop", "map_medium"),
        (places, "vpr_all", "recall@1"),
    ]
    for number, (labels, protocol, metric) in enumerate(cases):
        root = tmp_path / str(number)
        prepared(root, f"images={pictures}", f"labels={labels}", "role=val")
        extracted(root)
        results = evaluated(root, root / "run")
        assert metric in results["global"], protocol
        assert results["config"]["dataset"]["protocol"] == protocol
        assert results["config"]["dataset"]["role"] == "val"
    other = evaluated(root, root / "other", "dataset.protocol=instance")  # the user's word counts
    assert "map@100" in other["global"] and "recall@20" not in other["global"]


def test_three_keys_prepare_a_set_on_first_use_and_check_it_later(
    pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    keys = [f"images={tmp_path / 'p'}", "labels=folders"]
    for picture in sorted(pictures.rglob("*.jpg")):
        target = tmp_path / "p" / picture.stem / f"{picture.parent.name}.jpg"
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(picture.read_bytes())
    extracted(tmp_path, *keys)
    assert "6 queries, 6 gallery images" in capsys.readouterr().out
    before = {path.name: path.read_bytes() for path in (tmp_path / "own").iterdir()}
    prepared(tmp_path, *keys)  # the command itself would have written the very same
    assert {path.name: path.read_bytes() for path in (tmp_path / "own").iterdir()} == before
    results = evaluated(tmp_path, tmp_path / "run", *keys)
    assert results["rows"][0]["metrics"]["map@100"] == 1
    (tmp_path / "p" / "0" / "new.jpg").rename(tmp_path / "p" / "1" / "moved.jpg")
    with pytest.raises(BadInput, match=r"images changed(.|\n)*python scripts/prepare_dataset\.py"):
        evaluated(tmp_path, tmp_path / "changed", *keys)
    evaluated(tmp_path, tmp_path / "unasked")  # without labels= nothing is compared


def settled(command: str, root: Path, *given: str) -> Any:
    config = compose(command, ["name=own", "desc_name=sift", *given])
    settle(config, root)
    return config


def test_a_folder_made_by_hand_is_evaluated_as_before(tmp_path: Path) -> None:
    (tmp_path / "own").mkdir()
    (tmp_path / "own" / "query.txt").write_text("a.jpg\n")
    config = settled("evaluate", tmp_path, "dataset=folder")
    assert config.dataset.protocol == "instance" and config.images is None
    with pytest.raises(BadInput, match=r"query\.txt came from elsewhere(.|\n)*overwrite=true"):
        settled("extract_descriptors", tmp_path, "dataset=folder", "images=p", "labels=folders")


def test_keys_that_cannot_be_meant_are_refused(pictures: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"dataset=roxford brings its own"):
        settled("evaluate", tmp_path, "labels=folders", "images=p")
    with pytest.raises(ConfigError, match=r"labels= is given without images="):
        settled("extract_descriptors", tmp_path, "dataset=folder", "labels=folders")
    with pytest.raises(ConfigError, match=r"tolerance(.|\n)*prepare_dataset\.py images="):
        settled(
            "extract_descriptors", tmp_path, "dataset=folder", f"images={pictures}", "labels=frames"
        )
    for name in ("..", "a/b", "' '"):
        with pytest.raises(ConfigError, match="the name of one folder"):
            settled("extract_descriptors", tmp_path, "dataset=folder", f"name={name}")
    config = compose(
        "extract_descriptors", ["dataset=folder", f"images={tmp_path}", "desc_name=sift"]
    )
    settle(config, tmp_path)
    assert config.images == tmp_path


WRONG: dict[str, tuple[list[str], str]] = {
    "no images": (["labels=folders"], "images= is not given"),
    "no labels": (["images=p"], "labels= is not given(.|\n)*file,lat,lon"),
    "a protocol": (["images={}", "labels=folders", "protocol=map"], "one of revisitop"),
    "without grades": (["images={}", "labels=folders", "protocol=revisitop"], "no grades"),
    "a role": (["images={}", "labels=folders", "role=train"], "test or val"),
    "a name": (["images={}", "labels=folders", "name=../own"], "the name of one folder"),
    "a kind": (["images={}", "labels=folders", "kind=classes"], "no kind 'classes'"),
    "frames without": (["images={}", "labels=frames"], "tolerance is None"),
    "a radius too many": (["images={}", "labels=folders", "radius=3"], "means nothing to folders"),
    "a text for a number": (["images={}", "labels=folders", "radius=near"], "radius=near"),
    "half a frame": (["images={}", "labels=frames", "tolerance=0.5"], "tolerance=0.5"),
    "an unknown key": (["images={}", "labels=folders", "radus=3"], "did you mean radius"),
}


@pytest.mark.parametrize("case", WRONG)
def test_wrong_keys_write_nothing(case: str, pictures: Path, tmp_path: Path) -> None:
    given, words = WRONG[case]
    with pytest.raises((BadInput, ConfigError), match=words):
        prepared(tmp_path, *(word.format(pictures) for word in given))
    assert not list(tmp_path.iterdir())


def test_queries_without_positives_are_counted_and_kept(
    pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folders = [f"images={pictures / 'new'}", f"query_images={pictures / 'old'}"]
    (tmp_path / "l.csv").write_text("file,label\nold/0.jpg,a\nold/1.jpg,b\nnew/0.jpg,a\n")
    prepared(tmp_path, *folders, f"labels={tmp_path / 'l.csv'}")
    said = capsys.readouterr().out
    assert "1 queries have no positive, metrics leave them out: old/1.jpg" in said
    assert "3 images are not in" in said and "protocol instance, role test" in said
    truth = json.loads((tmp_path / "own" / "gnd_own.json").read_text())
    assert [len(query["positives"]) for query in truth["queries"]] == [1, 0]
    extracted(tmp_path)
    results = evaluated(tmp_path, tmp_path / "run")
    assert [query["ap"] for query in results["per_query"]] == [1, None]
    assert results["global"]["map@100"] == 1


LABELS = {  # 25 m and one frame: q0 has g0, q1 has g1, q2 has nothing within reach
    "radius=25": "file,x,y,split\nold/0.jpg,0,0,query\nold/1.jpg,100,0,query\n"
    "old/2.jpg,500,0,query\nnew/0.jpg,0,25,gallery\nnew/1.jpg,100,1,gallery\n"
    "new/2.jpg,200,0,gallery\n",
    "tolerance=1": "file,frame,split\nold/0.jpg,0,query\nold/1.jpg,10,query\nold/2.jpg,50,query\n"
    "new/0.jpg,1,gallery\nnew/1.jpg,10,gallery\nnew/2.jpg,20,gallery\n",
}


@pytest.mark.parametrize("rule", LABELS)
def test_recall_of_positions_is_over_all_queries(
    rule: str, pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """By hand: everyone's list is g0 g1 g2; q0 hits at rank 1, q1 at rank 2, q2 never."""
    (tmp_path / "l.csv").write_text(LABELS[rule])
    prepared(tmp_path, f"images={pictures}", f"labels={tmp_path / 'l.csv'}", rule)
    said = capsys.readouterr().out
    assert "1 queries have no positive, each counts as a miss: old/2.jpg" in said
    assert "protocol vpr_all" in said
    extracted(tmp_path)
    results = evaluated(tmp_path, tmp_path / "run")
    assert results["global"]["recall@1"] == pytest.approx(1 / 3)
    assert results["global"]["recall@5"] == pytest.approx(2 / 3)
    assert results["rows"][0]["metrics"]["recall@1"] == pytest.approx(2 / 3)  # the same pictures
    said = capsys.readouterr().out
    assert "counted as misses: 1 of 3 (all)" in said and "share of all queries" in said
    other = evaluated(tmp_path, tmp_path / "other", "dataset.protocol=vpr")
    assert other["global"]["recall@1"] == pytest.approx(1 / 2)  # of the two that can be answered


def test_the_script_ends_in_one_message_or_the_folder(pictures: Path, tmp_path: Path) -> None:
    (tmp_path / "l.csv").write_text("file,label\nold/0.jpg,a\nold/9.jpg,a\n")
    words = ["scripts/prepare_dataset.py", f"images={pictures}", "data_root=r", "name=own"]
    done = in_process(tmp_path, *words, "labels=l.csv")
    assert done.returncode == 1 and "'old/9.jpg'" in done.stderr and "line 3" in done.stderr
    assert "Traceback" not in done.stderr and not (tmp_path / "r").exists()
    (tmp_path / "l.csv").write_text("file,label\nold/0.jpg,a\nnew/0.jpg,a\n")
    done = in_process(tmp_path, *words, "labels=l.csv")
    assert done.returncode == 0 and "2 queries, 2 gallery images" in done.stdout
    made = description(tmp_path / "r")
    assert made["options"]["labels"] == str(tmp_path / "l.csv") and made["schema"] == 1
    with pytest.raises(MissingFile, match=r"gone\.csv"):
        prepared(tmp_path, f"images={pictures}", f"labels={tmp_path / 'gone.csv'}")


def test_a_name_that_needs_quotes_comes_back_from_the_command_it_is_told(
    pictures: Path, tmp_path: Path
) -> None:
    labels = tmp_path / "é, l.csv"
    labels.write_text("file,label\nold/0.jpg,a\nnew/0.jpg,a\n")
    quoted = f"labels='{labels}'"
    prepared(tmp_path, f"images={pictures}", quoted)
    labels.write_text("file,label\nold/0.jpg,a\nnew/0.jpg,a\nnew/1.jpg,a\n")
    with pytest.raises(BadInput, match="labels changed") as caught:
        settled("evaluate", tmp_path, "dataset=folder", f"images={pictures}", quoted)
    assert f"labels='{labels}'" in str(caught.value)  # in the quotes that Hydra wants


@pytest.mark.parametrize(
    "called", ["my photos (1)", "2023", "a=b, [c] {d}", "it's \\ $HOME #~;%20"]
)
def test_a_folder_may_be_called_anything(
    called: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    touch(tmp_path / called, [f"{called}/{called}.jpg", f"{called}/é,.jpg"])
    given = [f"images={called}", "labels=folders", f"name={called}", f"data_root={called} data"]
    assert main_of("prepare_dataset")(given) == 0
    folder = tmp_path / f"{called} data" / called
    assert read_image_list(folder / "gallery.txt").names == (
        f"{called}/{called}.jpg",
        f"{called}/é,.jpg",
    )
    assert main_of("prepare_dataset")(given) == 0  # the same again
    config = compose("evaluate", ["dataset=folder", *given[2:]])
    settle(config, data_root(config))
    assert config.images == tmp_path / called
    description = read_description(folder)
    assert description is not None
    words = shlex.split(prepare_command(description.options, folder))[2:]
    assert main_of("prepare_dataset")(words) == 0  # the command as a remedy says it


@pytest.mark.parametrize("place", ["file", "file/below", "n" * 300])
def test_a_place_that_cannot_be_is_one_message(
    place: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    touch(tmp_path, ["file", "p/a/0.jpg", "p/a/1.jpg"])
    given = [f"images={tmp_path}/p", "labels=folders", f"data_root={tmp_path}/{place}"]
    assert main_of("prepare_dataset")(given) == 1
    said = capsys.readouterr().err
    assert said.startswith("error: ") and str(tmp_path / place) in said
    assert "free space" not in said
