"""Public sets in miniature: the documented layout of each, with a handful of images.

`MINIATURES[name]` is the value of dataset=. Names are in the order that a reader must find (numbers
in names are such that sorting by text would be wrong where natural order is meant); positives are
worked out by hand. Query q is a copy of gallery image looks[q], so that an exact search puts that
one first.
"""

from __future__ import annotations

import pickle
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image
from scipy.io import savemat

Lists = list[list[int]]
TURNED = np.deg2rad(30)


@dataclass(frozen=True)
class Miniature:
    """folder: of the layout, under the data root; files: writes what is not an image.

    pictures: what each gallery image shows; by default each something else.
    """

    folder: str
    queries: list[str]
    gallery: list[str]
    positives: Lists
    looks: list[int]
    files: Callable[[Path], None] = field(default=lambda root: None)
    boxes: list[tuple[float, ...] | None] | None = None
    junk: Lists | None = None
    pictures: list[int] | None = None

    def write(self, data_root: Path, side: int = 16) -> Path:
        """Write images of side x side pixels and the ground truth; returns the layout's folder."""
        root = data_root / self.folder
        shown = self.pictures or list(range(len(self.gallery)))
        for name, look in zip(self.queries, self.looks, strict=True):
            draw(root / name, shown[look], side)
        for name, picture in zip(self.gallery, shown, strict=True):
            draw(root / name, picture, side)
        self.files(root)
        return root


def draw(path: Path, seed: int, side: int = 16) -> None:
    """A picture of coloured blocks; equal seeds give equal pictures."""
    path.parent.mkdir(parents=True, exist_ok=True)
    cells = np.random.default_rng(seed).integers(0, 256, (8, 8, 3), np.uint8)
    block = np.ones((max(side // 8, 1),) * 2 + (1,), np.uint8)
    Image.fromarray(np.kron(cells, block)).save(path)


def save_objects(path: Path, rows: Sequence[Sequence[object]]) -> None:
    """An object array [N, 2], as the released ground-truth files are."""
    array = np.empty((len(rows), len(rows[0])), object)
    for row, values in enumerate(rows):
        for column, value in enumerate(values):
            array[row, column] = value
    np.save(path, array)


def save_ragged(path: Path, lists: Sequence[Sequence[int]]) -> None:
    """An object array [N] of integer arrays of different lengths."""
    array = np.empty(len(lists), object)
    for row, values in enumerate(lists):
        array[row] = np.array(values, np.int64)
    np.save(path, array)


# ---------------------------------------------------------------- AnyLoc


def camera(position: tuple[float, float, float], turn: float = 0.0) -> str:
    """A .camera file: intrinsics, rotation in lines 5 to 7, position, size of the image."""
    c, s = np.cos(turn), np.sin(turn)
    rows = ["800 0 320", "0 800 240", "0 0 1", "0 0 0"]
    rows += [f"{c:.6f} {-s:.6f} 0", f"{s:.6f} {c:.6f} 0", "0 0 1"]
    return "\n".join([*rows, " ".join(f"{x:g}" for x in position), "640 480"]) + "\n"


def _baidu(root: Path) -> None:
    for folder, cameras in {
        "training_gt": {
            "2": camera((0, 0, 0)),
            "10": camera((6, 0, 8), TURNED),  # 10 m, turned by 30 degrees
            "11": camera((0, 0, 10.5)),
        },
        "query_gt": {
            "1": camera((0, 0, 0)),
            "2": camera((100, 0, 0)),
            "10": camera((0, 0, 18)),
        },
    }.items():
        (root / folder).mkdir()
        for stem, text in cameras.items():
            (root / folder / f"{stem}.camera").write_text(text)


def _gardens(root: Path) -> None:
    for name in ("Image2.jpg", "Image10.jpg", "Image100.jpg"):
        draw(root / "day_left" / name, 50)
    save_objects(root / "gardens_gt.npy", [[0, [0, 1]], [1, [0, 1, 2]], [2, [1, 2]]])


def _oxford(root: Path) -> None:
    names = {
        "dbImage": [["a1.png"], ["a2.png"], ["a3.png"]],
        "qImage": [["b1.png"], ["b2.png"], ["b3.png"]],
    }
    fields: dict[str, object] = {k: np.array(v, object) for k, v in names.items()}
    fields |= {
        "locDb": np.array([[0.0, 15.0, 60.0], [0.0, 20.0, 0.0]]),  # [2, N]
        "locQ": np.array([[0.0, 55.0, 500.0], [0.0, 0.0, 0.0]]),
        "numDb": 3,
        "numQ": 3,
        "posDistThr": 10,
        "posDistSqThr": 100,
    }
    savemat(root / "oxdatapart.mat", {"dbStruct": fields})


def netvlad(path: Path, gallery: Sequence[str], queries: Sequence[str], **changes: object) -> None:
    """A dbStruct as NetVLAD releases it: cells of names, UTM as [2, N], distances in metres."""
    east, north = 585_001.0, 4_477_000.0
    x = {"db": np.array([0.0, 25.0, 60.0]), "q": np.array([0.0, 50.0, 500.0])}
    fields: dict[str, object] = {
        "whichSet": "test",
        "dbImageFns": np.array([[name] for name in gallery], object),
        "utmDb": np.array([x["db"] + east, np.full(3, north)]),
        "qImageFns": np.array([[name] for name in queries], object),
        "utmQ": np.array([x["q"] + east, np.full(3, north)]),
        "numImages": 3,
        "numQueries": 3,
        "posDistThr": 25,
        "posDistSqThr": 625,
        "nonTrivPosDistSqThr": 100,
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    fields = {key: value for key, value in (fields | changes).items() if value is not None}
    savemat(path, {"dbStruct": fields}, do_compression=True)


def _pittsburgh(which: str) -> Miniature:
    gallery = [f"000/000{i:03d}_pitch1_yaw1.jpg" for i in range(3)]
    queries = [f"000/00000{i}_pitch1_yaw1.jpg" for i in range(3)]
    return Miniature(
        "pittsburgh",
        [f"queries_real/{name}" for name in queries],
        gallery,
        [[0, 1], [1, 2], []],
        [0, 0, 0],
        lambda root: netvlad(root / f"datasets/{which}_test.mat", gallery, queries),
    )


def _tokyo() -> Miniature:
    listed = [f"03814/381462_{i}_012_0.jpg" for i in range(3)]  # on disk .png
    queries = [f"0000{i}.jpg" for i in range(3)]
    return Miniature(
        "tokyo247_mat",
        [f"tokyo247/247query_subset_v2/{name}" for name in queries],
        [f"tokyo247/{name.removesuffix('.jpg')}.png" for name in listed],
        [[0, 1], [1, 2], []],
        [0, 0, 0],
        lambda root: netvlad(root / "datasets/tokyo247.mat", listed, queries),
    )


CITIES = {  # by side: key, easting, northing, whether it is a panorama, whether subtask all has it
    "train_val/cph/query": [
        ("qA", 347_000.0, 6_172_000.0, False, True),
        ("qB", 347_100.0, 6_172_000.0, False, True),  # nothing is near
        ("qC", 347_000.0, 6_172_001.0, True, True),
        ("qD", 347_000.0, 6_172_002.0, False, False),
    ],
    "train_val/cph/database": [
        ("dA", 347_000.0, 6_172_025.0, False, True),
        ("dB", 347_000.0, 6_172_000.0, True, True),
        ("dC", 347_015.0, 6_172_020.0, False, True),
    ],
    "train_val/sf/query": [("qE", 347_000.0, 6_172_000.0, False, True)],
    "train_val/sf/database": [("dD", 347_000.0, 6_172_010.0, False, True)],
}


def _cities(root: Path) -> None:
    for folder, rows in CITIES.items():
        texts = {
            "postprocessed": ",key,easting,northing,unique_cluster,night,control_panel,"
            "view_direction",
            "raw": ",key,lon,lat,ca,captured_at,pano",
            "subtask_index": ",key,all,s2w,w2s,o2n,n2o,d2n,n2d",
        }
        for i, (key, east, north, pano, listed) in enumerate(rows):
            texts["postprocessed"] += f"\n{i},{key},{east},{north},{i},False,False,Forward"
            texts["raw"] += f"\n{i},{key},12.5,55.7,90.0,2017-08-01,{pano}"
            texts["subtask_index"] += f"\n{i},{key},{listed}" + ",False" * 6
        for name, text in texts.items():
            (root / folder / f"{name}.csv").write_text(text + "\n")
    draw(root / "train_val/cph/query/images/qB.jpg", 9)


def _poses(root: Path, gallery: range, query: range, total: int) -> None:
    """Gallery image i stands at (i, 0), query j at (j + 0.25, 6); a third column is no position."""
    poses = np.full((total, 3), 1e6)
    for first, offset in ((gallery, 0.0), (query, 0.25)):
        for i, row in enumerate(first):
            poses[row] = (i + offset, 6.0 if first is query else 0.0, 77.0)
    np.save(root / "pose_topic_list.npy", poses)


def _route(folder: str, gallery: range, query: range, total: int) -> Miniature:
    # 6 m beside the route, 8 m reach sqrt(28) = 5.29 m along it: i - j from -5 to 5
    near = [[i for i in range(len(gallery)) if j - 5 <= i <= j + 5] for j in range(len(query))]
    return Miniature(
        folder,
        [f"q_images/{j}.jpg" for j in range(len(query))],
        [f"db_images/{i}.jpg" for i in range(len(gallery))],
        near,
        [j % len(gallery) for j in range(len(query))],
        partial(_poses, gallery=gallery, query=query, total=total),
    )


def _nardo(root: Path) -> None:
    (root / "gt_matches.csv").write_text(
        "query_ind,top_1_ref_ind,top_2_ref_ind,top_3_ref_ind,top_4_ref_ind,top_5_ref_ind\n"
        "1,5,4,3,2,1\n0,0,1,2,3,4\n"
    )


def _nardo_air(folder: str) -> Miniature:
    return Miniature(
        folder,
        ["query_images/9.png", "query_images/10.png"],
        [f"reference_images/{i}.png" for i in (1, 2, 3, 10, 20, 30)],
        [[0, 1, 2, 3, 4], [1, 2, 3, 4, 5]],
        [2, 0],
        _nardo,
    )


# ---------------------------------------------------------------- the common folder format


def utm(east: float, north: float, more: str = "56@J@-27.5@152.9@@@@@@@@") -> str:
    """A name of the common format."""
    return f"@{east:010.2f}@{north:010.2f}@{more}@.jpg"


def _utm(folder: str, database: str, queries: str, deep: str = "") -> Miniature:
    east, north = 499_638.99, 6_958_015.36
    return Miniature(
        folder,
        [f"{queries}/{utm(east + x, north)}" for x in (0, 50, 500)],
        [f"{database}/{deep}{utm(east + x, north + y)}" for x, y in ((0, 0), (25, 0), (25.5, 0))],
        [[0, 1], [1, 2], []],
        [0, 0, 0],
    )


def _nordland() -> Miniature:
    names = [f"@0@{i * 25 / 10.5:.2f}@@@@@@@@@@@@{i:03d}@.jpg" for i in range(25)]
    folders = ("images/test/queries", "images/test/database")
    # sorting by path is sorting by text: the order of the frames is another
    order = sorted(range(25), key=lambda i: names[i])
    near = [[k for k, j in enumerate(order) if abs(i - j) <= 10] for i in order]
    asked, gallery = ([f"{folder}/{names[i]}" for i in order] for folder in folders)
    return Miniature("nordland", asked, gallery, near, list(range(25)))


def _msls(root: Path) -> None:
    np.save(root / "msls_val_dbImages.npy", np.array([f"cph/db/{i}.jpg" for i in range(3)]))
    np.save(root / "msls_val_qImages.npy", np.array([f"sf/q/{i}.jpg" for i in range(3)]))
    np.save(root / "msls_val_qIdx.npy", np.array([0, 2]))
    save_ragged(root / "msls_val_pIdx.npy", [[0, 2], [1]])


# ---------------------------------------------------------------- category sets


def _lists(root: Path, query: Sequence[str], gallery: Sequence[str]) -> None:
    (root / "test_query.txt").write_text("\n".join(query))
    (root / "test_gallery.txt").write_text("\n".join(gallery))


def _labelled(folder: str, inside: bool) -> Miniature:
    gallery = [f"jpg/{name}.jpg" for name in "abcde"]
    queries = gallery[:3] if inside else [f"jpg/q{i}.jpg" for i in range(3)]
    labels = (7, 8, 7, 7, 8)  # a c d are of 7, b e of 8

    def files(root: Path) -> None:
        lines = [f"{name},{label},16,16" for name, label in zip(gallery, labels, strict=True)]
        asked = [f"{name},{label},16,16" for name, label in zip(queries, labels[:3], strict=True)]
        _lists(root, asked, lines)

    near = [[2, 3], [4], [0, 3]] if inside else [[0, 2, 3], [1, 4], [0, 2, 3]]
    shown = [0, 0, 2, 2, 1]  # a shows what b does, c what d does
    return Miniature(folder, queries, gallery, near, [0, 1, 2], files, pictures=shown)


def _official(folder: str) -> Miniature:
    queries, gallery = ["jpg/q0.jpg", "jpg/q1.jpg"], ["jpg/a.jpg", "jpg/b.jpg", "jpg/c.jpg"]

    def files(root: Path) -> None:
        _lists(root, [f"{n},0,16,16" for n in queries], [f"{n},0,16,16" for n in gallery])
        gnd = [{"ok": [0, 2], "junk": [1], "bbx": [1, 2, 15, 16]}, {"ok": [1], "junk": []}]
        (root / f"gnd_{folder}.pkl").write_bytes(pickle.dumps({"gnd": gnd}, protocol=3))

    boxes: list[tuple[float, ...] | None] = [(1.0, 2.0, 15.0, 16.0), None]
    return Miniature(folder, queries, gallery, [[0, 2], [1]], [1, 1], files, boxes, [[1], []])


def _ilias(root: Path) -> None:
    (root / "image_ids").mkdir()
    texts = {
        "image_query_ids": "lamp/query/1.jpg\nmug/query/1.jpg\nmug/query/2.jpg\n",
        "positive_ids": "mug/pos/1.jpg\nlamp/pos/1.jpg\nmug/pos/2.jpg\n",
        "text_query_ids": "lamp\nmug\n",
    }
    for name, text in texts.items():
        (root / "image_ids" / f"{name}.txt").write_text(text)
    (root / "lamp/query/1.txt").write_text("2 3 90 92\n")


T = "images/test"
MINIATURES: dict[str, Miniature] = {
    "baidu": Miniature(
        "baidu_datasets",
        [f"query_images_undistort/{i}.jpg" for i in (1, 2, 10)],
        [f"training_images_undistort/{i}.jpg" for i in (2, 10, 11)],
        [[0, 1], [], [2]],  # (6, 0, 8) is 10 m from the origin and 11.7 m from (0, 0, 18)
        [1, 0, 0],
        _baidu,
    ),
    "gardens": Miniature(
        "gardens",
        [f"night_right/Image{i}.jpg" for i in (2, 10, 100)],
        [f"day_right/Image{i}.jpg" for i in (2, 10, 100)],
        [[0, 1], [0, 1, 2], [1, 2]],
        [0, 2, 0],
        _gardens,
    ),
    "17places": Miniature(
        "17places",
        [f"query/{i}.jpg" for i in (0, 1, 10)],
        [f"ref/{i}.jpg" for i in (0, 1, 10)],
        [[0], [0, 1], []],
        [0, 0, 0],
        lambda root: save_objects(
            root / "ground_truth_new.npy", [[0, [0]], [1, np.array([0, 1])], [2, []]]
        ),
    ),
    "vpair": Miniature(
        "VPAir",
        [f"queries/{i}.png" for i in (1, 2)],
        [f"reference_views/{i}.png" for i in (1, 2)] + [f"distractors/{i}.png" for i in (3, 10)],
        [[0, 1], [1]],
        [3, 1],
        lambda root: save_objects(root / "vpair_gt.npy", [[0, [0, 1]], [1, [1]]]),
    ),
    "mid_atlantic": Miniature(
        "eiffel",
        [f"q_images/{i}.jpg" for i in (1, 2)],
        [f"db_images/{i}.jpg" for i in (7, 8, 10)],
        [[2], [0, 1]],
        [2, 2],
        lambda root: save_objects(
            root / "eiffel_gt.npy", [[i, [99]] for i in range(101)] + [[0, [2]], [1, [0, 1]]]
        ),
    ),
    "hawkins": _route("hawkins_long_corridor", range(127), range(127, 245), 245),
    "laurel": _route("laurel_caverns", range(141), range(229, 341), 341),
    "nardo_air": _nardo_air("test_40_midref_rot0"),
    "nardo_air_r": _nardo_air("test_40_midref_rot90"),
    "pitts30k": _utm("pitts30k", f"{T}/database", f"{T}/queries", "000/"),
    "pitts250k": _utm("pitts250k", f"{T}/database", f"{T}/queries", "007/"),
    "tokyo247": _utm("tokyo247", f"{T}/database", f"{T}/queries"),
    "st_lucia": _utm("st_lucia", f"{T}/database", f"{T}/queries"),
    "msls": _utm("msls", "images/val/database", "images/val/queries"),
    "sf_xl": _utm("sf_xl", "test/database", "test/queries_v1", "37.70/"),
    **{
        f"svox_{c}": _utm("svox", f"{T}/gallery", f"{T}/queries_{c}")
        for c in ("night", "overcast", "rain", "snow", "sun")
    },
    "nordland": _nordland(),
    "nordland_vprbench": Miniature(
        "nordland_vprbench",
        [f"query/{i:07d}.jpg" for i in range(3)],
        [f"ref/{i:07d}.jpg" for i in range(23)],
        [[0, 1], [9, 10, 11], [19, 20, 21]],
        [0, 3, 20],
    ),
    "pitts30k_mat": _pittsburgh("pitts30k"),
    "pitts250k_mat": _pittsburgh("pitts250k"),
    "tokyo247_mat": _tokyo(),
    "msls_csv": Miniature(
        "msls_csv",
        ["train_val/cph/query/images/qA.jpg", "train_val/sf/query/images/qE.jpg"],
        [f"train_val/{name}.jpg" for name in ("cph/database/images/dA", "cph/database/images/dC")]
        + ["train_val/sf/database/images/dD.jpg"],
        [[0, 1], [2]],
        [0, 2],
        _cities,
    ),
    "sped": Miniature(
        "SPEDTEST",
        [f"query/{i:07d}.jpg" for i in range(3)],
        [f"ref/{i:07d}.jpg" for i in range(3)],
        [[0], [1], [1, 2]],  # rows 3 and 4 of a window are beyond the last image
        [0, 1, 0],
        lambda root: save_objects(
            root / "ground_truth_new.npy", [[0, [0]], [1, [1]], [2, [1, 2, 3, 4]]]
        ),
    ),
    "msls_val": Miniature(
        "msls_val",
        ["sf/q/0.jpg", "sf/q/2.jpg"],
        [f"cph/db/{i}.jpg" for i in range(3)],
        [[0, 2], [1]],
        [2, 2],
        _msls,
    ),
    "amstertime": Miniature(
        "amstertime",
        [f"old/{i:04d}.jpg" for i in (0, 2, 10)],
        [f"new/{i:04d}.png" for i in (0, 2, 10)],
        [[0], [1], [2]],
        [0, 0, 2],
    ),
    "instre": _official("instre"),
    "product1m": _official("product1m"),
    "sop": _labelled("sop", inside=True),
    "rp2k": _labelled("rp2k", inside=True),
    "met": _labelled("met", inside=False),
    "ilias": Miniature(
        "ilias",
        ["lamp/query/1.jpg", "mug/query/1.jpg", "mug/query/2.jpg"],
        ["mug/pos/1.jpg", "lamp/pos/1.jpg", "mug/pos/2.jpg"],
        [[1], [0, 2], [0, 2]],
        [1, 1, 2],
        _ilias,
        [(2.0, 3.0, 92.0, 95.0), None, None],
        pictures=[2, 1, 2],
    ),
}
_OXFORD = Miniature(
    "Oxford_Robotcar",
    [f"oxDataPart/b{i}.png" for i in (1, 2, 3)],
    [f"oxDataPart/a{i}.png" for i in (1, 2, 3)],
    [[0, 1], [2], []],
    [0, 0, 1],
    _oxford,
)
MINIATURES["oxford"] = _OXFORD
MINIATURES["oxford_file"] = Miniature(
    _OXFORD.folder, _OXFORD.queries, _OXFORD.gallery, [[0], [2], []], [0, 0, 1], _oxford
)
