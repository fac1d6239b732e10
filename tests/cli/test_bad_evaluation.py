"""What an evaluation refuses, through the command: both sides named, before anything is scored."""

from __future__ import annotations

import json
import pickle
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from ames_lite.datasets.image_lists import read_image_list
from ames_lite.stores.neighbor_lists import read_neighbors
from tests.conftest import TinyWorld
from tests.helpers import main_of
from tests.stores.files import rewritten

CELL = ["num_rerank=10", "lamb=0.5", "temp=1.0", "report_queries=0"]


@dataclass(frozen=True)
class Own:
    """A copy of the tiny world that a test may spoil, and the command on it."""

    folder: Path
    capsys: pytest.CaptureFixture[str]

    @property
    def output(self) -> Path:
        return self.folder.parent.parent / "run"

    def path(self, name: str) -> Path:
        return self.folder / name

    def run(self, *more: str, model: str = "chamfer") -> tuple[int, str, str]:
        """Exit code, standard output and standard error."""
        given = ["dataset=synthetic", "desc_name=sift", f"data_root={self.folder.parent}"]
        given += [f"model={model}", f"output_dir={self.output}", *CELL]
        overridden = {word.split("=")[0] for word in more}
        kept = [word for word in given if word.split("=")[0] not in overridden]
        self.capsys.readouterr()
        code = main_of("evaluate")([*kept, *more])
        return code, *self.capsys.readouterr()

    def refused(self, *words: str, more: tuple[str, ...] = ()) -> str:
        """The message; it has the words, and nothing was scored or written."""
        code, out, message = self.run(*more)
        assert code == 1 and out == "" and message.startswith("error: "), message
        assert "pair/s" not in message and not self.output.exists()
        for word in words:
            assert word in message, message
        return message

    def truth(self, change: Callable[[list[dict[str, Any]]], None]) -> None:
        path = self.path("gnd_synthetic.json")
        content = json.loads(path.read_text())
        change(content["queries"])
        path.write_text(json.dumps(content))

    def names(self) -> tuple[tuple[str, ...], tuple[str, ...]]:
        query, gallery = (
            read_image_list(self.path(f"{split}.txt")).names for split in ("query", "gallery")
        )
        return query, gallery

    def publish(self, change: Callable[[np.ndarray], None] = lambda planes: None) -> str:
        """The neighbour lists in published form, changed; how to name them."""
        lists = read_neighbors(self.path("nn_sift_vlad.hdf5"), *self.names())
        planes = np.stack([lists.sims, lists.ids]).astype(np.float32)
        change(planes)
        path = self.path("nn_mine.pkl")
        path.write_bytes(pickle.dumps(torch.from_numpy(planes), 2))
        return f"neighbors={path}"


@pytest.fixture
def own(tiny_world: TinyWorld, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Own:
    folder = tmp_path / "data" / "synthetic"
    folder.parent.mkdir()
    shutil.copytree(tiny_world.folder(), folder)
    return Own(folder, capsys)


def swap_first_lines(path: Path) -> None:
    first, second, *rest = path.read_text().splitlines()
    path.write_text("\n".join([second, first, *rest]))


# ---------------------------------------------------------------- lists that disagree


def test_ground_truth_of_an_image_that_is_not_listed(own: Own) -> None:
    own.truth(lambda queries: queries[1]["hard"].append("jpg/elsewhere.jpg"))
    own.refused("'jpg/elsewhere.jpg'", "gnd_synthetic.json against the gallery list")


def test_ground_truth_of_fewer_queries(own: Own) -> None:
    own.truth(lambda queries: queries.pop())
    own.refused("gnd_synthetic.json has 5 queries, the query list 6", own.names()[0][5])


def test_ground_truth_of_another_query(own: Own) -> None:
    own.truth(lambda queries: queries[2].update(name="jpg/nobody.jpg"))
    own.refused("'jpg/nobody.jpg'", "queries of", "gnd_synthetic.json against the query list")


def test_official_rows_beyond_the_list(own: Own) -> None:
    queries, gallery = own.names()
    entry = {"bbx": [0, 0, 9, 9], "easy": [0], "hard": [1], "junk": [len(gallery)]}
    content = {"gnd": [entry] * len(queries), "imlist": list(gallery), "qimlist": list(queries)}
    own.path("gnd_synthetic.json").unlink()
    own.path("gnd_synthetic.pkl").write_bytes(pickle.dumps(content))
    own.refused("'junk' names rows 40 to 40", "gnd_synthetic.pkl", queries[0], "rows 0 to 39")


@pytest.mark.parametrize("side", ["query", "gallery"])
@pytest.mark.parametrize("published", [False, True])
def test_a_list_in_another_order_than_the_store(own: Own, side: str, published: bool) -> None:
    """Published neighbours name no lists, and the store tells it before our own."""
    names = own.names()[side == "gallery"]
    more = (own.publish(),) if published else ()
    swap_first_lines(own.path(f"{side}.txt"))
    words = [f"sift_{side}_local.hdf5 against", f"{side}.txt", "row 0"]
    own.refused(*words, f"'{names[0]}' there", f"'{names[1]}' in the list", more=more)


def test_a_gallery_list_that_is_cut(own: Own) -> None:
    path = own.path("gallery.txt")
    path.write_text("\n".join(path.read_text().splitlines()[:-1]))
    own.refused("the store has 40 names, the image list 39", "sift_gallery_local.hdf5")


# ---------------------------------------------------------------- neighbours


@pytest.mark.parametrize("value", [40.0, -1.0, 3.5, np.nan, np.inf])
def test_a_published_id_outside_the_gallery(own: Own, value: float) -> None:
    def change(planes: np.ndarray) -> None:
        planes[1, 2, 5] = value

    own.refused(f"query 2 has the id {value}", "rows 0 to 39", more=(own.publish(change),))


@pytest.mark.parametrize("value", [40, -1])
def test_a_native_id_outside_the_gallery(own: Own, value: int) -> None:
    with rewritten(own.path("nn_sift_vlad.hdf5")) as file:
        file["ids"][2, 5] = value
    own.refused(str(value), "0 to 39", "nn_sift_vlad.hdf5", "prepare_topk_global.py")


def test_neighbours_of_another_gallery(own: Own, tiny_world: TinyWorld) -> None:
    shutil.copy(tiny_world.folder("synthetic-val") / "nn_sift_vlad.hdf5", own.folder)
    own.refused("made for another query list", "4 names with digest", "6 names with digest")


def test_an_image_twice_in_a_list(own: Own) -> None:
    def change(planes: np.ndarray) -> None:
        planes[1, 3, 7] = planes[1, 3, 0]

    own.refused("query 3 lists an image twice", "nn_mine.pkl", more=(own.publish(change),))


class Harm:
    """What a forged pickle would run."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return Path.mkdir, (str(self.target),)


@pytest.mark.parametrize("name", ["gnd_synthetic.pkl", "nn_mine.pkl"])
def test_a_tampered_pickle_runs_nothing(own: Own, name: str, tmp_path: Path) -> None:
    lists = own.publish()
    if name.startswith("gnd"):
        own.path("gnd_synthetic.json").unlink()
    own.path(name).write_bytes(pickle.dumps({"gnd": [Harm(tmp_path / "harm")]}))
    said = own.refused(name, "not allowed; nothing was run", more=(lists,))
    assert "mkdir" in said and not (tmp_path / "harm").exists()


def test_a_truncated_pickle(own: Own) -> None:
    lists = own.publish()
    path = own.path("nn_mine.pkl")
    path.write_bytes(path.read_bytes()[:-300])
    own.refused("nn_mine.pkl", "cannot be read", more=(lists,))


# ---------------------------------------------------------------- numbers that are none


@pytest.mark.parametrize("model", ["chamfer", "mutual_nn", "ransac"])
@pytest.mark.parametrize("side", ["query", "gallery"])
def test_a_descriptor_that_is_nan_is_named_with_its_store(own: Own, side: str, model: str) -> None:
    with rewritten(own.path(f"sift_{side}_local.hdf5")) as file:
        file["descriptors"][3, 1, 0] = np.nan
    code, _, message = own.run(model=model)
    assert code == 1 and "NaN" in message
    name = own.names()[side == "gallery"][3]
    assert f"sift_{side}_local.hdf5, row 3 ('{name}')" in message
    assert not (own.output / "scores.hdf5").exists()


def test_a_logit_that_is_nan_stops_the_scoring(own: Own, monkeypatch: pytest.MonkeyPatch) -> None:
    from ames_lite.models.chamfer import Chamfer

    right = Chamfer.score

    def wrong(self: Chamfer, *images: Any, **rest: Any) -> torch.Tensor:
        logits = right(self, *images, **rest)
        logits[-1] = torch.nan
        return logits

    monkeypatch.setattr(Chamfer, "score", wrong)
    code, _, message = own.run()
    assert code == 1 and "is nan" in message and "finite logits" in message
    assert "sift_query_local.hdf5 and" in message and "sift_gallery_local.hdf5" in message
    queries, gallery = own.names()
    assert any(f"query '{name}'" in message for name in queries)
    assert any(f"gallery image '{name}'" in message for name in gallery)
    assert not (own.output / "scores.hdf5").exists()


def test_a_nan_among_stored_scores(own: Own) -> None:
    assert own.run()[0] == 0
    scores = own.output / "scores.hdf5"
    with rewritten(scores) as file:
        file["logit"][7] = np.nan
    code, _, message = own.run(f"scores={scores}", f"output_dir={own.folder / 'again'}")
    assert code == 1 and "NaN" in message and "scores.hdf5" in message
    assert not (own.folder / "again").exists()


# ---------------------------------------------------------------- queries without positives


def test_a_query_without_positives_is_left_out_and_counted(own: Own) -> None:
    def change(queries: list[dict[str, Any]]) -> None:
        queries[1].update(easy=[], hard=[])
        queries[2].update(easy=[])

    whole = own.run(f"output_dir={own.folder / 'whole'}")
    assert whole[0] == 0 and "left out" not in whole[1]
    own.truth(change)
    code, out, _ = own.run()
    assert code == 0 and "0.0000 queries" not in out
    assert "2 of 6 (easy), 1 of 6 (medium), 1 of 6 (hard)" in out
    assert "mean AP of 5 queries" in out and "1 queries without positives" in out
    before, after = (
        json.loads((folder / "results.json").read_text())
        for folder in (own.folder / "whole", own.output)
    )
    aps = [query["ap"] for query in after["per_query"]]
    kept = [query["ap"] for query in before["per_query"]]
    assert aps[1] is None and aps[3:] == kept[3:] and aps[0] == kept[0]


def test_a_set_without_hard_images_has_no_main_metric_and_no_crash(own: Own) -> None:
    own.truth(lambda queries: [query.update(hard=[]) for query in queries] and None)
    code, out, _ = own.run("report_queries=2")
    assert code == 0 and "6 of 6 (hard)" in out and "no query counts" in out
    metrics = json.loads((own.output / "results.json").read_text())["rows"][0]["metrics"]
    assert metrics["map_hard"] is None and metrics["map"] is None and metrics["map_easy"] > 0


def test_a_set_without_any_positive_is_refused(own: Own) -> None:
    own.truth(lambda queries: [query.update(easy=[], hard=[]) for query in queries] and None)
    own.refused("no query has a positive", "gnd_synthetic.json", "gallery.txt")


# ---------------------------------------------------------------- num_rerank beyond the gallery


def test_num_rerank_beyond_the_gallery_is_clamped_and_said_once(own: Own) -> None:
    code, out, _ = own.run("num_rerank=[7,41,1000]", "lamb=[0.2,0.8]", "temp=[0.5,2.0]")
    assert code == 0
    assert out.count("more than the gallery") == 1 and "num_rerank=1000" in out
    rows = json.loads((own.output / "results.json").read_text())["rows"]
    assert [row["num_rerank"] for row in rows] == [7] * 4 + [40] * 4
    code, again, _ = own.run(
        "num_rerank=40",
        "lamb=[0.2,0.8]",
        "temp=[0.5,2.0]",
        f"scores={own.output}",
        f"output_dir={own.folder / 'again'}",
    )
    assert code == 0 and "more than the gallery" not in again
    same = json.loads((own.folder / "again" / "results.json").read_text())["rows"]
    assert same == rows[4:]


def test_tuning_clamps_too(
    tiny_world: TinyWorld, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = ["dataset=synthetic-val", f"data_root={tiny_world.root}", "model=chamfer"]
    given += ["num_rerank=[5,5000]", f"output_dir={tmp_path / 'run'}"]
    assert main_of("tune")(given) == 0
    assert capsys.readouterr().out.count("more than the gallery") == 1


def test_lists_that_are_shorter_than_asked_and_than_the_gallery(own: Own) -> None:
    lists = read_neighbors(own.path("nn_sift_vlad.hdf5"), *own.names())
    planes = np.stack([lists.sims, lists.ids]).astype(np.float32)[:, :, :12]
    path = own.path("nn_mine.pkl")
    path.write_bytes(pickle.dumps(torch.from_numpy(planes), 2))
    asked = (f"neighbors={path}", "num_rerank=13")
    own.refused("have 12 images a query, 13 are needed", "nn_mine.pkl", more=asked)


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("weights=nowhere", "nowhere"),
        ("lamb=1.5", "lamb"),
        ("temp=0", "temp"),
        ("tuned=nowhere", "a choice of tuning is missing"),
        ("exports=[other]", "other"),
    ],
)
def test_settings_are_refused_before_a_store_is_opened(
    word: str, said: str, own: Own, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = "ames_lite.evaluation.data.load_data"
    monkeypatch.setattr(opened, lambda *_, **__: pytest.fail("it was opened"))
    code, _, message = own.run(word, model="ames" if word.startswith("weights") else "chamfer")
    assert code == 1 and said in message
