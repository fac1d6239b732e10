"""Every public set in miniature: from its official layout to lists, ground truth and recall."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ames_lite.cli import (
    build_vocabulary,
    evaluate,
    extract_descriptors,
    extract_globals,
    prepare_set,
    prepare_topk_global,
)
from ames_lite.cli.compose import compose
from ames_lite.cli.shell import dataset_files
from ames_lite.datasets.ground_truth import read_ground_truth
from ames_lite.datasets.image_lists import read_image_list
from ames_lite.datasets.relation import Relation
from ames_lite.errors import BadInput, ConfigError
from ames_lite.records import GroundTruth
from tests.conftest import SIFT
from tests.datasets.vpr.miniatures import MINIATURES, draw, save_objects, save_ragged
from tests.helpers import in_process


def prepare(name: str, root: Path, *more: str) -> Relation:
    given = [f"dataset={name}", f"data_root={root}", *more]
    return prepare_set.run(compose("prepare_set", given))


def read_back(name: str, root: Path, *more: str) -> GroundTruth:
    """The lists and ground truth as every later command finds them."""
    config = compose("evaluate", [f"dataset={name}", f"data_root={root}", *more])
    files = dataset_files(config)
    lists = [read_image_list(files.image_list(side)).names for side in ("query", "gallery")]
    for names in lists:
        assert all((files.image_root / image).is_file() for image in names)
    return read_ground_truth(files.ground_truth(), *lists)


def rows(lists: tuple[np.ndarray, ...]) -> list[list[int]]:
    return [sorted(found.tolist()) for found in lists]


def test_every_set_that_can_be_prepared_has_a_miniature() -> None:
    rendered = {"synthetic-route", "synthetic-route-val"}  # tests/tools/test_render_route.py
    graded = {"roxford", "rparis", "revisitop1m"}  # tests/cli/test_roxford.py
    assert set(prepare_set.readable()) == {*MINIATURES, *rendered, *graded}


@pytest.mark.parametrize("name", MINIATURES)
def test_a_layout_becomes_lists_and_ground_truth(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    small = MINIATURES[name]
    small.write(tmp_path)
    found = prepare(name, tmp_path)
    truth = read_back(name, tmp_path)
    assert list(truth.query_names) == small.queries
    assert list(truth.gallery_names) == small.gallery
    assert rows(truth.easy) == small.positives
    assert rows(truth.junk) == (small.junk or [[] for _ in small.queries])
    assert list(truth.bbox) == (small.boxes or [None] * len(small.queries))
    said = capsys.readouterr().out
    assert prepare_set.UNVERIFIED in said and "licence:" in said
    documented = compose("prepare_set", [f"dataset={name}"]).dataset.counts or {}
    for side, count in documented.items():
        assert (f"documented are {count}" in said) == (found.counts()[side] != count)
    prepare(name, tmp_path)  # again: the same lists are no conflict


def test_the_documented_counts_of_a_whole_set_are_no_difference(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    MINIATURES["hawkins"].write(tmp_path)  # 127 and 118 images, as documented
    prepare("hawkins", tmp_path)
    assert "differs:" not in capsys.readouterr().out
    MINIATURES["st_lucia"].write(tmp_path)
    prepare("st_lucia", tmp_path)
    said = capsys.readouterr().out
    assert "differs: 3 query images, documented are 1464" in said
    assert "differs: 3 gallery images, documented are 1549" in said


def test_the_other_direction_has_its_own_lists(tmp_path: Path) -> None:
    small = MINIATURES["amstertime"]
    small.write(tmp_path)
    prepare("amstertime", tmp_path)
    prepare("amstertime", tmp_path, "swap=true")
    there, back = read_back("amstertime", tmp_path), read_back("amstertime", tmp_path, "swap=true")
    assert list(there.query_names) == list(back.gallery_names) == small.queries
    assert list(there.gallery_names) == list(back.query_names) == small.gallery
    assert rows(back.easy) == [[0], [1], [2]]
    with pytest.raises(ConfigError, match=r"dataset\.swap"):
        compose("prepare_set", ["dataset=pitts30k", "swap=true"])


@pytest.mark.parametrize(
    "name, option, positives",
    [
        ("pitts30k", "radius=24.9", [[0], [2], []]),  # 24.5 m, 25 m and 50 m away from the second
        ("pitts30k", "radius=24.4", [[0], [], []]),
        ("pitts30k", "nearest=1", [[0], [2], []]),  # and within 25 m
        ("baidu", "max_angle=20.0", [[0], [], [2]]),
        ("17places", "frames=1", [[0, 1], [0, 1, 2], [1, 2]]),
        ("vpair", "distractors=null", [[0, 1], [1]]),
        ("nardo_air", "top=1", [[0], [5]]),
        ("oxford", "radius=30.0", [[0, 1], [2], []]),
    ],
)
def test_positives_follow_the_options(
    name: str, option: str, positives: list[list[int]], tmp_path: Path
) -> None:
    MINIATURES[name].write(tmp_path)
    prepare(name, tmp_path, f"dataset.options.{option}")
    assert rows(read_back(name, tmp_path).easy) == positives


WINDOWS = {  # what is listed, what is left of it, and how many positives are beyond
    "17places": ([[0, 1, 2], [0, 1, 2, 3], [1, 2, 3, 4]], [[0, 1, 2], [0, 1, 2], [1, 2]], "3", "2"),
    "vpair": ([[0, 1], [1, 2, 3]], [[0, 1], [1]], "2", "1"),  # never a distractor
    "msls_val": ([[0, 1], [1, 2]], [[0, 1], [1]], "1", "1"),
}


@pytest.mark.parametrize("name", WINDOWS)
def test_what_a_window_lists_beyond_the_gallery_is_noted_and_never_matched(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    listed, kept, beyond, queries = WINDOWS[name]
    root = MINIATURES[name].write(tmp_path)
    if name == "msls_val":
        np.save(root / "msls_val_dbImages.npy", np.array(["cph/db/0.jpg", "cph/db/1.jpg"]))
        save_ragged(root / "msls_val_pIdx.npy", listed)
    else:
        path = {"17places": "ground_truth_new.npy", "vpair": "vpair_gt.npy"}[name]
        save_objects(root / path, [[q, np.array(rows)] for q, rows in enumerate(listed)])
    prepare(name, tmp_path)
    assert rows(read_back(name, tmp_path).easy) == kept
    said = capsys.readouterr().out
    assert f"{beyond} positives of {queries} quer" in said and "never matched" in said


def test_the_nearest_alone_are_soft_positives(tmp_path: Path) -> None:
    MINIATURES["oxford"].write(tmp_path)
    prepare("oxford", tmp_path, "dataset.options.radius=null", "dataset.options.nearest=2")
    # the third query stands at 500 m: it, too, has two answers
    assert rows(read_back("oxford", tmp_path).easy) == [[0, 1], [1, 2], [1, 2]]


def test_distractors_stand_behind_the_positives_of_ilias(tmp_path: Path) -> None:
    root = MINIATURES["ilias"].write(tmp_path)
    draw(root / "yfcc/000/1.jpg", 9)
    (root / "image_ids/mini.txt").write_text("yfcc/000/1.jpg\n")
    prepare("ilias", tmp_path, "dataset.options.distractors=image_ids/mini.txt")
    truth = read_back("ilias", tmp_path)
    assert truth.gallery_names[3:] == ("yfcc/000/1.jpg",)
    assert rows(truth.easy) == MINIATURES["ilias"].positives


def test_lists_that_differ_are_replaced_only_when_told(tmp_path: Path) -> None:
    MINIATURES["pitts30k"].write(tmp_path)
    prepare("pitts30k", tmp_path)
    with pytest.raises(BadInput, match="gnd_pitts30k.json would change"):
        prepare("pitts30k", tmp_path, "dataset.options.radius=1.0")
    assert rows(read_back("pitts30k", tmp_path).easy) == MINIATURES["pitts30k"].positives
    prepare("pitts30k", tmp_path, "dataset.options.radius=1.0", "overwrite=true")
    assert rows(read_back("pitts30k", tmp_path).easy) == [[0], [], []]


def test_the_command_says_where_to_get_what_is_not_there(tmp_path: Path) -> None:
    given = ["dataset=gardens", f"data_root={tmp_path}"]
    done = in_process(tmp_path, "scripts/prepare_set.py", *given)
    assert done.returncode == 1 and "Traceback" not in done.stderr
    assert str(tmp_path / "gardens") in done.stderr and "AnyLoc" in done.stderr
    with pytest.raises(ConfigError, match="no official layout(.|\n)*nardo_air"):
        prepare("gldv2-test", tmp_path)


@pytest.mark.parametrize(
    "option, message",
    [
        ("dataset.options.radius=far", "a number or null"),
        ("dataset.options.radius=-1", "radius is -1"),
        ("dataset.options.nearest=0", "nearest is 0"),
        ("dataset.options.radius=null", "neither radius nor nearest"),
        ("dataset.options.distance=3", "no key"),
    ],
)
def test_options_that_do_not_fit_are_refused(option: str, message: str, tmp_path: Path) -> None:
    MINIATURES["pitts30k"].write(tmp_path)
    with pytest.raises(ConfigError, match=message):
        prepare("pitts30k", tmp_path, option)


# ---------------------------------------------------------------- from pixels to recall

RECALL_AT_1 = {  # by hand: query q shows gallery image looks[q], and an exact search puts it first
    "pitts30k": 1 / 3,  # looks 0 0 0, right are [0, 1], [1, 2] and none
    "gardens": 2 / 3,  # looks 0 2 0, right are [0, 1], [0, 1, 2] and [1, 2]
    "baidu": 1 / 3,  # looks 1 0 0, right are [0, 1], none and [2]
    "oxford": 1 / 3,  # looks 0 0 1, right are [0, 1], [2] and none
    "nardo_air": 1 / 2,  # looks 2 0, right are all but 5 and all but 0
    "hawkins": 1.0,  # query j shows image j, which is among the near ones
    "nordland_vprbench": 2 / 3,  # looks 0 3 20, right are [0, 1], [9, 10, 11], [19, 20, 21]
    "msls_val": 1 / 2,  # looks 2 2, right are [0, 2] and [1]
    "amstertime": 2 / 3,  # looks 0 0 2, right is one's own number
    "amstertime swap=true": 2 / 3,  # old 0 and 2 show the same: of the two, the first is first
    "sop": 1 / 3,  # a and b show the same and have other labels, c and d have the same
}


def whole_run(name: str, root: Path) -> dict[str, Any]:
    """Prepare, extract, search and evaluate a miniature; the results."""
    name, *swap = name.split()
    MINIATURES[name].write(root, side=96)
    prepare(name, root, *swap)
    given = [f"dataset={name}", "desc_name=sift", f"data_root={root}", *swap]
    extract_descriptors.run(compose("extract_descriptors", [*given, *SIFT]))
    build_vocabulary.run(compose("build_vocabulary", [*given, "split=gallery", "num_clusters=4"]))
    extract_globals.run(compose("extract_globals", given))
    prepare_topk_global.run(compose("prepare_topk_global", [*given, "global=vlad"]))
    options = ["model=mutual_nn", "neighbors=vlad", "lamb=1.0", "temp=1.0", "num_rerank=5"]
    output = ["report_queries=2", f"output_dir={root / 'run'}"]
    return evaluate.run(compose("evaluate", [*given, *options, *output]))


@pytest.mark.parametrize(
    "name",
    [pytest.param(one, marks=[pytest.mark.slow] * (one == "hawkins")) for one in RECALL_AT_1],
)  # hawkins has 245 images
def test_a_miniature_goes_from_pixels_to_recall(name: str, tmp_path: Path) -> None:
    results = whole_run(name, tmp_path)
    metrics, small = results["global"], MINIATURES[name.split()[0]]
    assert results["dataset"] == name.replace(" swap=true", "_swapped")
    assert metrics["recall@1"] == pytest.approx(RECALL_AT_1[name])
    if len(small.gallery) <= 5:  # all of it is among the first 5: only who has no answer misses
        some = [bool(right) for right in small.positives]
        assert metrics["recall@5"] == pytest.approx(sum(some) / len(some))


def test_ilias_goes_from_pixels_to_map_at_1000(tmp_path: Path) -> None:
    """By hand: mugs show the same picture. The lamp is found; one mug is searched with the lamp's
    picture and finds its two at ranks 2 and 3; the other finds both first."""
    results = whole_run("ilias", tmp_path)
    assert [query["global_ap"] for query in results["per_query"]] == pytest.approx(
        [1.0, (1 / 2 + 2 / 3) / 2, 1.0]
    )
    assert results["global"]["map@1000"] == pytest.approx((1 + 7 / 12 + 1) / 3)
