"""Names of images from lists, stores and ground truth, however they look: read as they are, and no
file is written at a place that a name gives."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ames_lite.datasets.ground_truth import read_ground_truth
from ames_lite.datasets.image_lists import ImageList, read_image_list, write_image_list
from ames_lite.errors import BadInput
from ames_lite.evaluation.page import make_picture
from ames_lite.records import LocalDescriptors, Neighbors
from ames_lite.stores.candidates import FORMS, WRITTEN
from ames_lite.stores.descriptor_store import DescriptorStore
from ames_lite.stores.global_store import GlobalStore
from ames_lite.stores.neighbor_lists import read_neighbors, write_neighbors
from ames_lite.stores.row_writer import GlobalWriter
from tests.evaluation.trec import read_trec_run
from tests.fuzz.kinds import images_for
from tests.stores.candidates.writing import write_ranking

ODD = (
    *(
        "../up.jpg",
        "../../../../tmp/far.jpg",
        "/absolute/a.jpg",
        "a/../../b.jpg",
        "C:\\c.jpg",
        "..",
    ),
    *(
        "line\nend.jpg",
        "return\rend.jpg",
        "both\r\nend.jpg",
        "tab\t.jpg",
        "\u2028.jpg",
        "\x1b[2J.jpg",
    ),
    *(
        "<b>&amp;'\"</b>.jpg",
        "{{ 7 * 7 }}.jpg",
        "a|b.jpg",
        "%20 .jpg",
        "=1+1.jpg",
        "#.jpg",
        "~.jpg",
    ),
    *(
        "x" * 5000 + ".jpg",
        "x/" * 3000 + "y.jpg",
        "ä" * 200,
        "-rf",
        "$HOME.jpg",
        "*.jpg",
        "a,b.jpg",
    ),
)


def read_list(folder: Path) -> tuple[str, ...]:
    return read_image_list(write_image_list(folder / "gallery.txt", ImageList(ODD))).names


def read_labelled(folder: Path) -> tuple[str, ...]:
    labels, sizes = np.arange(len(ODD)), np.ones((len(ODD), 2), np.int32)
    return read_image_list(write_image_list(folder / "l.csv", ImageList(ODD, labels, sizes))).names


def read_local(folder: Path) -> tuple[str, ...]:
    given = images_for("records")
    parts = given.descriptors[0], given.xy[0], given.scale[0], given.weight[0]
    image = LocalDescriptors(*(part[: given.count[0]] for part in parts), size=(32, 48))
    with DescriptorStore.create(folder / "local.hdf5", ODD, 6, 16, "float16", {}) as made:
        for name in ODD:
            made.append(name, image)
    with DescriptorStore.open(folder / "local.hdf5") as store:
        return store.names


def read_globals(folder: Path) -> tuple[str, ...]:
    with GlobalWriter(folder / "global.hdf5", ODD, 8, {}) as made:
        for name in ODD:
            made.append(name, np.ones(8, np.float32))
    with GlobalStore(folder / "global.hdf5") as store:
        return store.names


def read_lists(folder: Path) -> tuple[str, ...]:
    path = write_neighbors(folder / "nn.hdf5", ranking(), ODD, ODD, {})
    read_neighbors(path, ODD, ODD, 3)
    with pytest.raises(BadInput):
        read_neighbors(path, ODD[::-1], ODD, 3)
    return ODD


def read_truth(folder: Path) -> tuple[str, ...]:
    queries = [
        {"name": name, "positives": [ODD[(row + 1) % len(ODD)]]} for row, name in enumerate(ODD)
    ]
    (folder / "gnd.json").write_text(json.dumps({"queries": queries}))
    truth = read_ground_truth(folder / "gnd.json", ODD, ODD)
    assert [int(rows[0]) for rows in truth.easy] == [*range(1, len(ODD)), 0]
    return truth.query_names


def read_pictures(folder: Path) -> tuple[str, ...]:
    return tuple(name for name in ODD if make_picture(folder / name, 9).image is None)


def ranking() -> Neighbors:
    ids = np.array([np.roll(np.arange(len(ODD)), -q) for q in range(len(ODD))], np.int32)
    sims = np.tile(np.linspace(1, 0.5, len(ODD), dtype=np.float32), (len(ODD), 1))
    return Neighbors(ids, sims, len(ODD))


def read_exports(folder: Path) -> tuple[str, ...]:
    found = ranking()
    behind = {"sim": found.sims, "logit": found.sims[:, :3]}
    paths = {}
    for form in (one for one in WRITTEN if not FORMS[one].odd):
        path, more = folder / WRITTEN[form].format(""), behind if form == "pairs" else {}
        paths[form] = write_ranking(path, form, ODD, ODD, found, **more)
    run = paths["trec"].read_text("utf-8")
    assert all(len(line.split()) == 6 for line in run.split("\n")[:-1])
    np.testing.assert_array_equal(read_trec_run(paths["trec"], ODD, ODD).ids, found.ids)
    wanted = {query: [ODD[at] for at in found.ids[row]] for row, query in enumerate(ODD)}
    assert json.loads(paths["json"].read_text()) == wanted
    scored = json.loads(paths["json_scores"].read_text())
    assert {query: [name for name, _ in rows] for query, rows in scored.items()} == wanted
    for form in ("csv", "pairs"):
        with paths[form].open(newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file, strict=True))
        pairs = [(row["query"], row["gallery"]) for row in rows]
        assert pairs == [(query, name) for query, names in wanted.items() for name in names]
    return tuple(wanted)


PLACES: dict[str, Callable[[Path], tuple[str, ...]]] = {
    place.__name__: place
    for place in (
        *(read_list, read_labelled, read_local, read_globals, read_lists, read_truth),
        *(read_pictures, read_exports),
    )
}


@pytest.mark.parametrize("place", PLACES)
def test_odd_names_come_back_and_lead_nowhere(tmp_path: Path, place: str) -> None:
    folder = tmp_path / "1" / "2" / "out"
    folder.mkdir(parents=True)
    assert PLACES[place](folder) == ODD
    outside = [
        path for path in tmp_path.rglob("*") if path.is_file() and folder not in path.parents
    ]
    assert not outside and not [path for path in folder.iterdir() if not path.is_file()]
    assert not Path("/tmp/far.jpg").exists() and not Path("/absolute").exists()


@pytest.mark.parametrize("name", ["a\0.jpg", "\0", ""])
def test_a_name_that_no_file_has_is_refused_in_every_place(tmp_path: Path, name: str) -> None:
    (tmp_path / "gallery.txt").write_text(f"a.jpg,1\n{name},2\n")
    query: Any = {"name": name, "positives": ["a.jpg"]}
    (tmp_path / "gnd.json").write_text(json.dumps({"queries": [query]}))
    refusals: list[Callable[[], object]] = [
        lambda: read_image_list(tmp_path / "gallery.txt"),
        lambda: DescriptorStore.create(tmp_path / "l.hdf5", ["a", name], 6, 16, "float16", {}),
        lambda: GlobalWriter(tmp_path / "g.hdf5", ["a", name], 8, {}),
        lambda: read_ground_truth(tmp_path / "gnd.json", ["q.jpg"], ["a.jpg"]),
    ]
    for refusal in refusals:
        with pytest.raises(BadInput):
            refusal()
    assert {path.name for path in tmp_path.iterdir()} == {"gallery.txt", "gnd.json"}
