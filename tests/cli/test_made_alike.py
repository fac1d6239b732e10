"""From the command: what was made one way is refused where the other is needed, with both named."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from ames_lite.cli import (
    build_vocabulary,
    evaluate,
    extract_globals,
    prepare_topk_global,
)
from ames_lite.cli import extract_descriptors as extract_descriptors_command
from ames_lite.cli.compose import compose
from ames_lite.errors import BadInput
from ames_lite.extraction.backbones import build_backbone
from ames_lite.extraction.descriptors import extract_descriptors
from ames_lite.io.checkpoint import HeadMeta, save_head
from ames_lite.io.images import save_jpeg
from ames_lite.models import build_head
from ames_lite.stores.descriptor_store import DescriptorStore
from ames_lite.stores.global_store import GlobalStore
from tests.helpers import main_of

pytest.importorskip("transformers")
SMALL = ["device=cpu", "workers=1", "backbone.arguments.image_size=56", "overwrite=true"]
BICUBIC = "backbone.arguments.resize=bicubic"


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A set of two queries and six images, with stores of tiny_random as it is by default."""
    root = tmp_path_factory.mktemp("made")
    folder, rng = root / "synthetic", np.random.default_rng(0)
    folder.mkdir()
    for side, count in (("query", 2), ("gallery", 6)):
        names = [f"{side}{number}.jpg" for number in range(count)]
        for name in names:
            save_jpeg(folder / name, rng.integers(0, 255, (60, 80, 3)).astype(np.uint8), 95)
        (folder / f"{side}.txt").write_text("".join(f"{name},0\n" for name in names))
    queries = [
        {"name": f"query{q}.jpg", "bbox": [3.6, 2.2, 70.8, 55.5], "easy": [f"gallery{q}.jpg"]}
        | {"hard": [f"gallery{q + 2}.jpg"], "junk": []}
        for q in range(2)
    ]
    (folder / "gnd_synthetic.json").write_text(json.dumps({"queries": queries}))
    extract(root)
    prepare_topk_global.run(compose("prepare_topk_global", words(root, "global=cls")))
    return root


def words(root: Path, *more: str) -> list[str]:
    return ["dataset=synthetic", "desc_name=tiny_random", f"data_root={root}", *more]


def extract(root: Path, *more: str) -> None:
    extract_descriptors_command.run(compose("extract_descriptors", words(root, *SMALL, *more)))


@pytest.fixture
def other(root: Path, tmp_path: Path) -> Path:
    """A copy, of which a test may make files anew."""
    shutil.copytree(root / "synthetic", tmp_path / "synthetic")
    return tmp_path


def refuses(match: str, work: Any) -> str:
    with pytest.raises(BadInput, match=match) as error:
        work()
    return str(error.value)


def run_evaluation(root: Path, *more: str) -> None:
    given = [
        "neighbors=cls",
        "num_rerank=5",
        "device=cpu",
        "lamb=0.5",
        "temp=0.1",
        "report_queries=0",
        *more,
    ]
    evaluate.run(compose("evaluate", words(root, f"output_dir={root}/run", *given)))


def test_queries_and_gallery_are_made_alike_and_the_remedy_works(other: Path) -> None:
    extract(other, "splits=[query]", BICUBIC)
    said = refuses(
        "resize is 'bicubic' in .*query_local.* and 'area' in .*gallery_local",
        lambda: run_evaluation(other, "model=mutual_nn"),
    )
    remedy = said.split("extract_descriptors.py ")[1].split()
    assert "backbone.arguments.resize=area" in remedy and "splits=[query]" in remedy
    topk = compose("prepare_topk_global", words(other, "global=cls", "overwrite=true"))
    refuses("resize is 'bicubic'", lambda: prepare_topk_global.run(topk))
    extract_descriptors_command.run(compose("extract_descriptors", [*remedy, *SMALL]))
    run_evaluation(other, "model=mutual_nn")


def test_check_store_finds_it(other: Path, capsys: pytest.CaptureFixture[str]) -> None:
    extract(other, "splits=[query]", BICUBIC)
    given = words(other, "neighbors=cls")
    assert main_of("check_store")(given) == 3
    assert "resize is 'bicubic' here, 'area' in" in capsys.readouterr().out


def test_vectors_of_scales_are_averaged_on_both_sides(other: Path) -> None:
    scales = "backbone.arguments.scales=[0.7071,1.0]"
    extract(other, scales)
    with GlobalStore(other / "synthetic" / "tiny_random_gallery_cls.hdf5") as store:
        assert store.provenance["global_scales"] == "mean of unit vectors"
    extract(other, scales, "splits=[query]", "backbone.arguments.global_scales=one")
    topk = compose("prepare_topk_global", words(other, "global=cls", "overwrite=true"))
    refuses("global_scales is 1.0 in .* and 'mean of unit", lambda: prepare_topk_global.run(topk))


def test_a_store_is_not_continued_otherwise(other: Path) -> None:
    given = [word for word in SMALL if word != "overwrite=true"]
    command = compose("extract_descriptors", words(other, *given, BICUBIC))
    refuses("resize is 'area' in .* and 'bicubic", lambda: extract_descriptors_command.run(command))
    extract_descriptors_command.run(
        compose("extract_descriptors", words(other, *given))
    )  # complete: nothing is to do


def test_a_head_is_for_descriptors_made_as_it_was_trained_on(other: Path) -> None:
    path = other / "synthetic" / "tiny_random_gallery_local.hdf5"
    made = DescriptorStore.open(path).provenance
    torch.manual_seed(0)
    head = build_head("ames", dim_in=32, dim=16, num_layers=1, dim_feedforward=16)
    weights = "model=ames", f"weights={other}/head"
    since = ("method", "query_crop", "global_scales")
    older = {key: value for key, value in made.items() if key not in since}
    older["resize"] = "resize, torch bicubic antialias to uint8, multiples of 14"
    floats = {**made, "resize": "bicubic_float"}
    for trained_on, value in ((floats, "bicubic_float"), (older, "bicubic")):
        meta = HeadMeta("tiny_random", provenance={"descriptors": trained_on})
        save_head(other / "head", head, meta)
        said = f"resize is '{value}' in the head .* and 'area' in .*query_local"
        refuses(said, lambda: run_evaluation(other, *weights))
        shutil.rmtree(other / "run")
    extract(other, BICUBIC)  # these are as those of the older head
    run_evaluation(other, *weights)


def test_a_vocabulary_is_for_descriptors_made_alike(other: Path) -> None:
    build = ["dataset=synthetic", "desc_name=tiny_random", f"data_root={other}", "num_clusters=4"]
    build_vocabulary.run(compose("build_vocabulary", [*build, "split=gallery"]))
    extract_globals.run(compose("extract_globals", words(other)))
    extract(other, BICUBIC)
    given = compose("extract_globals", words(other, "overwrite=true"))
    refuses("resize is 'bicubic' in .* and 'area' in .*vlad", lambda: extract_globals.run(given))
    straight = [*SMALL, "source=images", BICUBIC]
    images = compose("extract_globals", words(other, *straight))
    refuses("resize is 'bicubic' in this run", lambda: extract_globals.run(images))


def test_crops_that_were_cut_otherwise_do_not_continue_one_another(tmp_path: Path) -> None:
    picture = np.random.default_rng(0).integers(0, 255, (80, 90, 3)).astype(np.uint8)
    for number in range(2):
        save_jpeg(tmp_path / f"{number}.jpg", picture, 90)

    def run(query_crop: str, boxes: Any, name: str) -> None:
        backbone = build_backbone("tiny_random", device="cpu", image_size=56, query_crop=query_crop)
        extract_descriptors(
            backbone, tmp_path, ["0.jpg", "1.jpg"], local=tmp_path / name, boxes=boxes
        )

    boxes = [(10.6, 20.3, 60.2, 70.8), None]
    run("int", boxes, "queries.hdf5")
    refuses("query_crop is 'int'", lambda: run("cover", boxes, "queries.hdf5"))
    run("int", None, "gallery.hdf5")
    run("cover", None, "gallery.hdf5")  # whole images: it changes nothing
