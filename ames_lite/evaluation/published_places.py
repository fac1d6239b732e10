"""Published recall of place recognition: global rankings, by set.

Numbers are per cent as printed; a dash of a table is None. Whatever makes the neighbour lists, they
lie in the set's folder as nn_{desc_name}_{neighbors}.hdf5 (or .pkl, which says nothing of what made
it). The convention to know: AnyLoc's own rows are of vocabularies over a domain, whose random start
is unknown; rows of methods that are not part of this project want lists made elsewhere.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from ames_lite.evaluation.published_row import (
    GLOBAL,
    ROUNDING,
    NeededFile,
    Reproduction,
    recall_tolerance,
)

ANYLOC = "https://github.com/AnyLoc/AnyLoc"
DOWNLOADER = "https://github.com/gmberton/VPR-datasets-downloader"
AMSTERTIME = "https://doi.org/10.4121/19580806"
EVALUATION = "https://github.com/gmberton/VPR-methods-evaluation"
WEIGHTS = "https://github.com/facebookresearch/dinov2"
MADE_BY = "python scripts/place_recognition.py"
RECALLS = (1, 5, 10, 20)
Percent = float | None


class Place(NamedTuple):
    """A set: its folder, AnyLoc's domain, images a side, and where its layout comes from."""

    folder: str
    domain: str
    query: int
    gallery: int
    page: str = ANYLOC


PLACES = {  # by dataset=
    "baidu": Place("baidu_datasets", "indoor", 2292, 689),
    "gardens": Place("gardens", "indoor", 200, 200),
    "17places": Place("17places", "indoor", 406, 406),
    "pitts30k": Place("pitts30k", "urban", 6816, 10000, DOWNLOADER),
    "st_lucia": Place("st_lucia", "urban", 1464, 1549, DOWNLOADER),
    "oxford": Place("oxford_25m", "urban", 191, 191),
    "oxford_file": Place("Oxford_Robotcar", "urban", 191, 191),
    "hawkins": Place("hawkins_long_corridor", "hawkins", 118, 127),
    "laurel": Place("laurel_caverns", "laurel", 112, 141),
    "nardo_air": Place("test_40_midref_rot0", "aerial", 71, 102),
    "nardo_air_r": Place("test_40_midref_rot90", "aerial", 71, 102),
    "vpair": Place("VPAir", "aerial", 2706, 12706),
    "mid_atlantic": Place("eiffel", "eiffel", 101, 65),
    "amstertime": Place("amstertime", "", 1231, 1231, AMSTERTIME),
}


def _row(
    group: str,
    dataset: str,
    percent: tuple[Percent, ...],
    *,
    source: str,
    lists: tuple[str, str],
    made_by: str,
    swap: bool = False,
    rounding: float = ROUNDING,
    made: Mapping[str, Any] | None = None,
    unstated: tuple[str, ...] = (),
) -> Reproduction:
    """lists: desc_name= and neighbors=; made_by: the page or command that the lists come from."""
    place = PLACES[dataset]
    folder = f"{place.folder}_swapped" if swap else place.folder
    command = f"python scripts/prepare_set.py dataset={dataset}" + " swap=true" * swap

    def needed(what: str, page: str, *names: str) -> NeededFile:
        return NeededFile(what, tuple(f"{folder}/{name}" for name in names), page)

    desc_name, kind = lists
    near = [f"nn_{desc_name}_{kind}.{form}" for form in ("hdf5", "pkl")]
    layout = f"{place.page} and then {command}"
    named = zip(RECALLS, percent, strict=False)
    return Reproduction(
        name=f"{group}.{dataset}" + "_swapped" * swap,
        group=group,
        source=source,
        settings={"dataset": dataset, "desc_name": desc_name, "neighbors": kind}
        | ({"swap": True} if swap else {}),
        expected={f"recall@{k}": round(value / 100, 6) for k, value in named if value is not None},
        files=(
            needed("list of the queries", layout, "query.txt", "test_query.txt"),
            needed("list of the gallery", layout, "gallery.txt", "test_gallery.txt"),
            needed("ground truth", layout, f"gnd_{folder}.json", f"gnd_{folder}.pkl"),
            needed("neighbour lists", made_by, *near),
        ),
        tolerance=recall_tolerance(place.query, rounding),
        published_stores=False,
        ranking=GLOBAL,
        made=made or {},
        counts={"query": place.query, "gallery": place.gallery},
        unstated=unstated,
    )


def _anyloc(dataset: str, first: float, fifth: float) -> Reproduction:
    """VLAD of ViT-g/14's values, block 31, 32 clusters, by the vocabulary of the set's domain."""
    domain = PLACES[dataset].domain
    unstated = ["the random start of the vocabulary's k-means"]
    if dataset == "mid_atlantic":
        unstated.append("which vocabulary: eiffel is in no domain; here one of its own")
    return _row(
        "anyloc",
        dataset,
        (first, fifth),
        source=f"AnyLoc, AnyLoc-VLAD-DINOv2, R@1/R@5 ({ANYLOC})",
        lists=(f"anyloc_vitg_{domain}", "vlad"),
        made_by=f"{WEIGHTS} and then {MADE_BY} experiment=anyloc_{domain}",
        made={"variant": "vitg14", "facet": "value", "layer": 31, **_HARD},
        unstated=tuple(unstated),
    )


_HARD = {"assignment": "hard, cosine", "normalisation": "intra, then L2", "unit_descriptors": True}


def _gem(dataset: str, first: float, fifth: Percent) -> Reproduction:
    options = "backbone=dinov2_vitg14 backbone.arguments.facet=value backbone.arguments.layer=31"
    options += " backbone.arguments.method=center_crop backbone.arguments.image_size=0"
    return _row(
        "anyloc_gem",
        dataset,
        (first, fifth),
        source=f"AnyLoc, GeM of DINOv2's tokens, R@1/R@5 ({ANYLOC})",
        lists=("anyloc_vitg", "gem"),
        made_by=f"{WEIGHTS} and then python extract/extract_globals.py dataset={dataset} "
        f"desc_name=anyloc_vitg global=gem source=images {options} (Baidu Mall: image_size="
        "[480,640]); extract/prepare_topk_global.py global=gem",
        made={"variant": "vitg14", "facet": "value", "layer": 31, "power": 3.0},
    )


def _map_specific(dataset: str, first: float) -> Reproduction:
    """The ablation over sizes of the network: a vocabulary of the set's own gallery."""
    return _row(
        "anyloc_vitb",
        dataset,
        (first,),
        source=f"AnyLoc, ablation: ViT-B/14, layer 11, value, map-specific vocabulary ({ANYLOC})",
        lists=("anyloc_vitb_own", "vlad"),
        made_by=f"{WEIGHTS} and then {MADE_BY} experiment=anyloc size=vitb sets=[{dataset}]",
        made={"variant": "vitb14", "facet": "value", "layer": 11, **_HARD},
        unstated=(
            "the random start of the vocabulary's k-means",
            "the vocabulary's images were of their own size, here they are 320 x 320",
        ),
    )


def _nardo(dataset: str, *percent: float) -> Reproduction:
    """Another's reproduction with ViT-B/14; its aerial vocabulary is without VP-Air."""
    return _row(
        "nardo_vitb",
        dataset,
        percent,
        source="a third party's reproduction of AnyLoc with ViT-B/14, R@1/5/10/20",
        lists=("anyloc_vitb_nardo", "vlad"),
        made_by=f"{WEIGHTS} and then {MADE_BY} experiment=anyloc size=vitb domain=nardo "
        "sets=[nardo_air,nardo_air_r] vocabulary_recipe=anyloc_aerial "
        "\"vocabulary_options=['size=vitb','domain=nardo','sources=[nardo_air_r:1,nardo_air:1]']\"",
        rounding=ROUNDING / 10,
        made={"variant": "vitb14", "facet": "value", "layer": 11, **_HARD},
        unstated=("the random start of the vocabulary's k-means",),
    )


def _amstertime(swap: bool, first: float, fifth: float) -> Reproduction:
    direction = "street views ask" if swap else "archive pictures ask"
    return _row(
        "amstertime_cls",
        "amstertime",
        (first, fifth),
        source=f"DINOv2's CLS token on AmsterTime, {direction}, R@1/R@5 (a blog, two decimals)",
        lists=("dinov2", "cls"),
        made_by=f"{WEIGHTS} and then {MADE_BY} experiment=amstertime",
        swap=swap,
        rounding=0.005,
        made={"backbone": "dinov2", "global": "cls"},
        unstated=("which DINOv2 it was (size, registers), and the size of its images",),
    )


def _elsewhere(method: str, source: str, dataset: str, *percent: Percent) -> Reproduction:
    """A method that this project does not have: lists made by it are evaluated."""
    page = EVALUATION if method == "cosplace_r18" else ANYLOC
    return _row(
        method,
        dataset,
        percent,
        source=source,
        lists=(method, "global"),
        made_by=f"{page} (lists that {method} made: this project has no such network)",
        unstated=(f"whether the lists are those of {method}",),
    )


def _rows() -> list[Reproduction]:
    table = f"AnyLoc, R@1/R@5 of {{}} ({ANYLOC})"
    dino, mixvpr, cosplace = map(table.format, ("VLAD of DINO ViT-S/8", "MixVPR", "CosPlace"))
    return [
        _anyloc("baidu", 75.2, 87.6),
        _anyloc("gardens", 95.5, 99.5),
        _anyloc("17places", 65.0, 80.5),
        _anyloc("pitts30k", 87.7, 94.7),
        _anyloc("st_lucia", 96.2, 98.8),
        _anyloc("oxford", 99.5, 100),
        _anyloc("hawkins", 65.2, 94.1),
        _anyloc("laurel", 61.6, 90.2),
        _anyloc("nardo_air", 76.1, 94.4),
        _anyloc("nardo_air_r", 85.9, 100),
        _anyloc("vpair", 66.7, 79.2),
        _anyloc("mid_atlantic", 34.6, 61.4),
        _gem("baidu", 50.1, 70.6),
        _gem("oxford", 92.2, None),
        _map_specific("baidu", 66.6),
        _map_specific("oxford_file", 68.1),
        _nardo("nardo_air", 50.70, 77.46, 83.10, 97.18),
        _nardo("nardo_air_r", 77.46, 92.96, 100, 100),
        _amstertime(False, 43, 68),
        _amstertime(True, 35, 57),
        _elsewhere("vlad_dino", dino, "baidu", 61.2, 78.3),
        _elsewhere("vlad_dino", dino, "oxford", 82.2, 99.0),
        _elsewhere("vlad_dino", dino, "nardo_air_r", 94.4, 100),
        _elsewhere("vlad_dino", dino, "mid_atlantic", 41.6, 66.3),
        _elsewhere("mixvpr", mixvpr, "baidu", 64.4, 80.3),
        _elsewhere("mixvpr", mixvpr, "gardens", 91.5, 96.0),
        _elsewhere("mixvpr", mixvpr, "17places", 63.8, 78.8),
        _elsewhere("mixvpr", mixvpr, "pitts30k", 91.5, 95.5),
        _elsewhere("mixvpr", mixvpr, "st_lucia", 99.7, 100),
        _elsewhere("mixvpr", mixvpr, "oxford", 92.7, 99.5),
        _elsewhere("mixvpr", mixvpr, "hawkins", 25.4, 60.2),
        _elsewhere("mixvpr", mixvpr, "laurel", 29.5, 67.0),
        _elsewhere("mixvpr", mixvpr, "vpair", 10.3, 18.3),
        _elsewhere("cosplace", cosplace, "pitts30k", 90.4, 95.7),
        _elsewhere("cosplace", cosplace, "nardo_air", 0, 1.4),
        _elsewhere(
            "cosplace_r18",
            f"CosPlace ResNet-18, 512-d, R@1/5/10/20, the check of {EVALUATION}",
            "st_lucia",
            *(98.8, 99.7, 99.9, 100),
        ),
    ]


ROWS: dict[str, Reproduction] = {row.name: row for row in _rows()}
