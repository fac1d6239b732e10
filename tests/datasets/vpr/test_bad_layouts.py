"""What is wrong with a layout is said with file, line and what was expected."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from scipy.io import loadmat, savemat
from scipy.io.matlab import MatlabObject

from ames_lite.cli import prepare_set
from ames_lite.cli.compose import compose
from ames_lite.errors import UserError
from tests.datasets.vpr.miniatures import (
    MINIATURES,
    camera,
    draw,
    netvlad,
    save_objects,
    save_ragged,
    utm,
)

Spoil = Callable[[Path], object]


def remove(name: str) -> Spoil:
    return lambda root: (root / name).unlink()


def write(name: str, text: str) -> Spoil:
    return lambda root: (root / name).write_text(text)


def replace(name: str, old: str, new: str) -> Spoil:
    def spoil(root: Path) -> None:
        text = (root / name).read_text()
        assert old in text
        (root / name).write_text(text.replace(old, new))

    return spoil


def rename(folder: str, new: str) -> Spoil:
    """Give the first image of a folder another name."""
    return lambda root: sorted((root / folder).rglob("*.jpg"))[0].rename(root / folder / new)


def add(name: str) -> Spoil:
    return lambda root: draw(root / name, 0)


def objects(name: str, rows: list[list[object]]) -> Spoil:
    return lambda root: save_objects(root / name, rows)


def array(name: str, values: object) -> Spoil:
    return lambda root: np.save(root / name, np.asarray(values))


def mat(**changes: object) -> Spoil:
    def spoil(root: Path) -> None:
        path = root / "oxdatapart.mat"
        fields = loadmat(str(path), simplify_cells=True)["dbStruct"] | changes
        fields = {key: value for key, value in fields.items() if value is not None}
        for key in ("dbImage", "qImage"):
            fields[key] = np.array(fields[key], object)
        savemat(path, {"dbStruct": fields})

    return spoil


class Attack:
    def __reduce__(self) -> tuple[object, ...]:
        return (print, ("unpickled",))


def attack(name: str) -> Spoil:
    def spoil(root: Path) -> None:
        hostile = np.empty((1, 2), object)
        hostile[0, 0] = Attack()
        np.save(root / name, hostile)

    return spoil


DB, Q = "images/test/database", "images/test/queries"
LISTED = f"{Q}_images_paths.txt"
CASES: dict[str, tuple[str, Spoil, list[str]]] = {
    # the common folder format
    "a name without fields": ("pitts30k", add(f"{Q}/plain.jpg"), ["plain.jpg", "UTM_east"]),
    "an empty field": (
        "pitts30k",
        rename(DB, "@0499638.99@@56@J@.jpg"),
        ["UTM_north is missing", "@0499638.99@@56@J@.jpg"],
    ),
    "a field of text": ("pitts30k", rename(DB, "@east@1@@.jpg"), ["UTM_east is 'east'"]),
    "fields swapped": (
        "pitts30k",
        rename(Q, utm(6_958_015.36, 499_638.99)),
        ["as if they were swapped", "east from 100000", Q],
    ),
    "fields swapped, listed": (
        "pitts30k",
        lambda root: (
            add(f"{Q}/{utm(6_958_015.36, 499_638.99)}")(root),
            write(
                LISTED, "\n".join([utm(499_638.99, 6_958_015.36), utm(6_958_015.36, 499_638.99)])
            )(root),
        ),
        ["as if they were swapped", f"{LISTED}, line 2", "east from 100000"],
    ),
    "no east": ("pitts30k", rename(DB, "@@6958015.36@56@J@.jpg"), ["UTM_east is missing"]),
    "degrees for metres": (
        "pitts30k",
        rename(Q, "@-27.5@152.9@@@.jpg"),
        ["UTM_east is -27.50", "north from 0"],
    ),
    "a folder missing": (
        "tokyo247",
        lambda root: (root / Q).rename(root / "q"),
        [f"{Q}", "missing"],
    ),
    "listed but absent": (
        "pitts30k",
        write(LISTED, f"{utm(499_638.99, 6_958_015.36)}\n{utm(5e5, 6e6)}\n"),
        ["1 of 2 listed images are absent", f"{LISTED}, line 2", utm(5e5, 6e6)],
    ),
    "listed twice": (
        "pitts30k",
        write(LISTED, f"{utm(499_638.99, 6_958_015.36)}\n" * 2),
        [f"{LISTED}, line 2", "listed twice, first in"],
    ),
    "a blank line": ("pitts30k", write(LISTED, "\n"), [f"{LISTED}, line 1", "without a path"]),
    # lists of frames
    "a list that is shorter": (
        "gardens",
        objects("gardens_gt.npy", [[0, [0]], [1, [1]]]),
        ["gardens_gt.npy", "2 rows", "3 images", "expected: 3 rows"],
    ),
    "a list of another release": (
        "gardens",
        objects("gardens_gt.npy", [[0, [0]], [1, [1, 3]], [2, [2]]]),
        ["gardens_gt.npy, row 1", "gallery rows 1 to 3, there are 3 images", "another release"],
    ),
    "a list of texts": (
        "17places",
        objects("ground_truth_new.npy", [[0, ["a"]], [1, [1]], [2, [2]]]),
        ["ground_truth_new.npy, row 0", "['a']", "gallery rows"],
    ),
    "a list that is longer": (
        "gardens",
        objects("gardens_gt.npy", [[i, [0]] for i in range(4)]),
        ["gardens_gt.npy", "4 rows", "3 images", "expected: 3 rows"],
    ),
    "a list whose columns are swapped": (
        "gardens",
        objects("gardens_gt.npy", [[[0], 0], [[0, 1], 1], [[1, 2], 2]]),
        ["gardens_gt.npy, row 0", "[[0], 0]", "swapped", "(anything, gallery rows)"],
    ),
    "a list with one column": (
        "17places",
        lambda root: save_ragged(root / "ground_truth_new.npy", [[0], [1], [2, 1]]),
        ["ground_truth_new.npy, row 0", "one row a query"],
    ),
    "a list that runs code": (
        "vpair",
        attack("vpair_gt.npy"),
        ["vpair_gt.npy", "builtins.print, which is not allowed"],
    ),
    "no array at all": ("vpair", write("vpair_gt.npy", "gt"), ["vpair_gt.npy", "not a whole"]),
    "a list without its head": (
        "mid_atlantic",
        objects("eiffel_gt.npy", [[0, [2]], [1, [0]]]),
        ["after the first 101 has 0 rows", "q_images 2 images"],
    ),
    "no list": ("gardens", remove("gardens_gt.npy"), ["gardens_gt.npy", "missing"]),
    "a name of the other listing is absent": (
        "gardens",
        add("day_left/Image200.jpg"),
        ["1 of 4 listed images are absent", "day_left/Image200.jpg", "night_right/Image200.jpg"],
    ),
    "a folder without images": (
        "gardens",
        lambda root: [path.unlink() for path in (root / "day_right").iterdir()],
        ["day_right", "no images"],
    ),
    "a traverse with a gap": (
        "nordland_vprbench",
        lambda root: [(root / f"ref/{i:07d}.jpg").unlink() for i in (3, 4, 5)],
        ["one for 10 of the gallery, meet 20", "21 to 30 gallery frames", "ref/0000000.jpg"],
    ),
    "a traverse with frames too many": (
        "nordland_vprbench",
        lambda root: [add(f"ref/{i:07d}.jpg")(root) for i in range(100, 110)],
        ["one for 10 of the gallery, meet 33", "21 to 30 gallery frames"],
    ),
    # poses
    "poses of another route": (
        "hawkins",
        array("pose_topic_list.npy", np.zeros((200, 3))),
        ["pose_topic_list.npy", "200 poses", "at least 245 rows"],
    ),
    "an image too many": (
        "hawkins",
        add("db_images/500.jpg"),
        ["pose_topic_list.npy, rows 0 to 126", "127 rows, and db_images 128 images"],
    ),
    "a pose that is no number": (
        "laurel",
        array("pose_topic_list.npy", np.full((341, 2), np.nan)),
        ["pose 0 is not finite", "numbers [N, 2 or more]"],
    ),
    # Oxford RobotCar
    "fields missing": ("oxford", mat(locQ=None), ["oxdatapart.mat", "dbStruct lacks locQ"]),
    "counts differ": ("oxford", mat(numDb=4), ["dbImage has 3 names and numDb is [4]"]),
    "positions of another length": (
        "oxford",
        mat(locDb=np.zeros((2, 4))),
        ["locDb is [2, 4]", "[2, 3] or [3, 2]"],
    ),
    "an image of the file is absent": (
        "oxford",
        remove("oxDataPart/b2.png"),
        ["oxdatapart.mat, qImage 2", "oxDataPart/b2.png"],
    ),
    "no MATLAB file": ("oxford", write("oxdatapart.mat", "x"), ["oxdatapart.mat", "dbStruct"]),
    # NetVLAD's dbStruct
    "a MATLAB 7.3 file": (
        "pitts30k_mat",
        write("datasets/pitts30k_test.mat", "MATLAB 7.3 MAT-file, Platform: GLNXA64"),
        ["pitts30k_test.mat", "HDF5", "'-v7'"],
    ),
    "fields of NetVLAD missing": (
        "pitts30k_mat",
        lambda root: netvlad(root / "datasets/pitts30k_test.mat", ["a.jpg"], ["b.jpg"], utmQ=None),
        ["pitts30k_test.mat", "dbStruct lacks utmQ"],
    ),
    "an object for a struct": (
        "tokyo247_mat",
        lambda root: savemat(
            root / "datasets/tokyo247.mat",
            {"dbStruct": MatlabObject(np.zeros((1, 1), [("a", object)]), "evil")},
        ),
        ["tokyo247.mat", "dbStruct lacks"],
    ),
    "no structs at all": (
        "tokyo247_mat",
        lambda root: savemat(root / "datasets/tokyo247.mat", {"dbStruct": np.ones(3)}),
        ["tokyo247.mat", "cannot be read"],
    ),
    # MSLS
    "a city without a column": (
        "msls_csv",
        replace("train_val/cph/query/postprocessed.csv", "northing", "height"),
        ["query/postprocessed.csv, line 1", "fits no form", "file,x,y"],
    ),
    "a position that is none": (
        "msls_csv",
        replace("train_val/cph/query/postprocessed.csv", "347000.0", "here"),
        ["query/postprocessed.csv, line 2", "x is 'here'"],
    ),
    "a mark that is none": (
        "msls_csv",
        replace("train_val/cph/database/raw.csv", "True", "maybe"),
        ["database/raw.csv, line 3", "pano is 'maybe'"],
    ),
    "an image of a city is absent": (
        "msls_csv",
        remove("train_val/cph/database/images/dC.jpg"),
        ["database/postprocessed.csv, line 4", "images/dC.jpg"],
    ),
    # Baidu
    "a camera missing": ("baidu", remove("query_gt/10.camera"), ["query_gt/10.camera", "missing"]),
    "a camera cut short": (
        "baidu",
        write("training_gt/2.camera", "1 0 0\n"),
        ["training_gt/2.camera", "1 lines", "9 or more"],
    ),
    "a position of two numbers": (
        "baidu",
        write("training_gt/2.camera", camera((1, 2, 3)).replace("1 2 3", "1 2")),
        ["training_gt/2.camera, line 8", "'1 2'", "three numbers"],
    ),
    "a rotation of text": (
        "baidu",
        replace("query_gt/1.camera", "0.000000 1.000000 0", "a b c"),
        ["query_gt/1.camera, line 6", "'a b c'"],
    ),
    # Nardo-Air
    "another header": (
        "nardo_air",
        replace("gt_matches.csv", "top_5_ref_ind", "top_5"),
        ["gt_matches.csv, line 1", "lacks top_5_ref_ind"],
    ),
    "a reference that is not there": (
        "nardo_air",
        replace("gt_matches.csv", "0,0,1,2,3,4", "0,0,1,2,3,6"),
        ["gt_matches.csv, line 3", "rows 0 to 6, there are 6 images", "rows 0 to 5"],
    ),
    "a query twice": (
        "nardo_air_r",
        replace("gt_matches.csv", "\n0,", "\n1,"),
        ["gt_matches.csv, line 3", "'query 1' is listed twice"],
    ),
    "a query missing": (
        "nardo_air",
        replace("gt_matches.csv", "\n0,0,1,2,3,4", ""),
        ["the file has 1 rows, and query_images 2 images"],
    ),
    "a row cut short": (
        "nardo_air",
        replace("gt_matches.csv", "0,0,1,2,3,4", "0,0,1,2,3"),
        ["gt_matches.csv, line 3", "5 cells, the header 6"],
    ),
    # pairs and arrays
    "a partner missing": (
        "amstertime",
        remove("new/0002.png"),
        ["old/0002.jpg", "no partner", "number 2 in new"],
    ),
    "a name without a number": ("amstertime", add("old/x.jpg"), ["old/x.jpg", "such as 12.jpg"]),
    "positives of another length": (
        "msls_val",
        lambda root: save_ragged(root / "msls_val_pIdx.npy", [[0]]),
        ["msls_val_pIdx.npy", "1 rows", "msls_val_qIdx.npy 2 images"],
    ),
    "queries of another release": (
        "msls_val",
        array("msls_val_qIdx.npy", [0, 3]),
        ["msls_val_qIdx.npy", "rows 0 to 3, there are 3 images"],
    ),
    "queries out of order": ("msls_val", array("msls_val_qIdx.npy", [2, 0]), ["ascending"]),
    "an image of the array is absent": (
        "msls_val",
        remove("cph/db/1.jpg"),
        ["msls_val_dbImages.npy, row 1", "cph/db/1.jpg"],
    ),
    # category sets
    "lists without labels": (
        "sop",
        write("test_gallery.txt", "jpg/a.jpg\njpg/b.jpg\n"),
        ["test_gallery.txt, line 1", "path,label"],
    ),
    "a query outside the gallery": (
        "rp2k",
        write("test_query.txt", "jpg/a.jpg,7\njpg/z.jpg,7\n"),
        ["test_query.txt, line 2", "jpg/z.jpg"],
    ),
    "a query inside the gallery": (
        "met",
        write("test_query.txt", "jpg/q0.jpg,7\njpg/a.jpg,7\n"),
        ["test_query.txt, line 2", "no queries among the gallery"],
    ),
    "a listed picture is absent": (
        "instre",
        remove("jpg/b.jpg"),
        ["test_gallery.txt, line 2", "jpg/b.jpg"],
    ),
    "ground truth of another release": (
        "instre",
        lambda root: (root / "gnd_instre.pkl").write_bytes(
            pickle.dumps({"gnd": [{"ok": [0]}, {"ok": [3]}]}, protocol=3)
        ),
        ["gnd_instre.pkl", "rows 3 to 3", "rows 0 to 2"],
    ),
    "ground truth of fewer queries": (
        "product1m",
        lambda root: (root / "gnd_product1m.pkl").write_bytes(
            pickle.dumps({"gnd": [{"ok": [0]}]}, protocol=3)
        ),
        ["gnd_product1m.pkl", "1 entries for 2 queries", "expected: one entry a query"],
    ),
    "an id without an object": (
        "ilias",
        lambda root: (add("1.jpg")(root), write("image_ids/image_query_ids.txt", "1.jpg\n")(root)),
        ["image_query_ids.txt, line 1", "names no object"],
    ),
    "an object without positives": (
        "ilias",
        write("image_ids/positive_ids.txt", "mug/pos/1.jpg\n"),
        ["image_query_ids.txt, line 1", "'lamp' has no positive"],
    ),
    "a bad box": ("ilias", write("lamp/query/1.txt", "1 2 0 4"), ["lamp/query/1.txt", "x y w h"]),
}


@pytest.mark.parametrize("case", CASES)
def test_an_error_names_file_line_and_what_was_expected(case: str, tmp_path: Path) -> None:
    name, spoil, words = CASES[case]
    root = MINIATURES[name].write(tmp_path)
    spoil(root)
    with pytest.raises(UserError) as caught:
        prepare_set.run(compose("prepare_set", [f"dataset={name}", f"data_root={tmp_path}"]))
    said = str(caught.value)
    assert all(word in said for word in words), said
    assert "where:" in said and "expected:" in said
    assert not list(tmp_path.rglob("gallery.txt"))
