"""Place recognition in one command, on miniatures of official layouts: the table is that of the
single commands, a second run makes nothing again, and what lacks is said before any work."""

from __future__ import annotations

import csv
import io
import json
import shlex
import shutil
from collections import Counter
from collections.abc import Iterator
from contextlib import redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch

from ames_lite.cli import (
    build_vocabulary,
    evaluate,
    extract_descriptors,
    extract_globals,
    place_recognition,
    prepare_set,
    prepare_topk_global,
)
from ames_lite.cli.compose import compose, experiments_of
from ames_lite.cli.place_stages import Pipeline
from ames_lite.errors import BadInput, ConfigError, MissingFile, UserError
from ames_lite.io.checkpoint import HeadMeta, save_head
from ames_lite.io.json_file import read_json_file
from ames_lite.io.overrides import word
from ames_lite.models import AMES, ELViS
from ames_lite.stores.fitted import read_vocabulary_images
from benchmarks.reproduce.outcomes import find_rows
from benchmarks.reproduce.rows import PLACE_ROWS
from tests.datasets.vpr.miniatures import MINIATURES, draw

TINY = ["backbone=tiny_random", "backbone.arguments.facet=value", "backbone.arguments.layer=1"]
TINY += ["backbone.arguments.method=center_crop"]
IMAGES = [*TINY, "backbone.arguments.image_size=0", "backbone.arguments.top_k=0"]
STORES = [*TINY, "backbone.arguments.image_size=[56,56]", "backbone.arguments.top_k=16"]
VOCABULARY = [
    "num_clusters=4",
    word("expected.variant", "tiny_random, 4 registers"),
    "expected.layer=1",
    word("extraction", [*STORES, "outputs=[local]"]),
]
LOCAL = ["desc_name=sift", "backbone.arguments.top_k=60", "workers=1"]
ANYLOC = [
    *LOCAL,
    word("global_extraction", IMAGES),
    word("vocabulary_options", VOCABULARY),
]
AERIAL = ["experiment=anyloc_aerial", "sets=[nardo_air,nardo_air_r]", *ANYLOC]
TINY_CLS = ["backbone=tiny_random", "desc_name=tiny_random", "workers=1"]


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    """Many small products: a second thread costs more than it gives."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def run(root: Path, output: str, *words: str) -> list[Any]:
    given = [f"data_root={root / 'data'}", f"output_dir={root / output}"]
    return place_recognition.run(compose("place_recognition", [*words, *given]))


def heads(folder: Path, desc_name: str, width: int) -> list[str]:
    """Small random heads with λ and γ, as words."""
    torch.manual_seed(0)
    ames = AMES(dim_in=width, dim=32, num_layers=2, dim_feedforward=32)
    elvis = ELViS(dim_in=width, dim=32)
    for name, head in (("ames", ames), ("elvis", elvis)):
        meta = HeadMeta(desc_name, lamb=0.4, temp=0.3, provenance={"tuned_on": "synthetic-val"})
        save_head(folder / name, head, meta)
    return [f"{name}.weights={folder / name}" for name in ("ames", "elvis")]


def written(data: Path) -> dict[str, tuple[int, int]]:
    """Every file below data: when it was written, and its inode."""
    found = [path for path in sorted(data.rglob("*")) if path.is_file()]
    return {str(p): (p.stat().st_mtime_ns, p.stat().st_ino) for p in found}


@dataclass(frozen=True)
class Done:
    """A finished run of the aerial recipe."""

    root: Path
    words: list[str]
    blocks: list[Any]
    text: str  # of the table
    said: str


@pytest.fixture(scope="module")
def aerial(tmp_path_factory: pytest.TempPathFactory) -> Done:
    root = tmp_path_factory.mktemp("aerial")
    for name in ("nardo_air", "nardo_air_r", "vpair"):  # the vocabulary sees all three
        MINIATURES[name].write(root / "data", side=96)
    words = [*AERIAL, *heads(root, "sift", 128)]
    with redirect_stdout(io.StringIO()) as said:
        blocks = run(root, "first", *words)
    text = (root / "first" / "table.md").read_text()
    return Done(root, words, blocks, text, said.getvalue())


def test_the_table_has_each_set_by_its_global_ranking_and_by_every_reranker(aerial: Done) -> None:
    assert [block.dataset for block in aerial.blocks] == ["nardo_air", "nardo_air_r"]
    for block in aerial.blocks:
        names = [line.name for line in block.lines]
        assert names == ["global", "ames", "elvis", "mutual_nn", "ransac"]
        folder = aerial.root / "first" / block.dataset
        for line in block.lines[1:]:
            found = json.loads((folder / line.name / "results.json").read_text())
            values = {name: line.metrics[name].mean for name in line.metrics}
            assert values == found["rows"][0]["metrics"]
            assert {n: v.mean for n, v in block.lines[0].metrics.items()} == found["global"]
    for name in ("recall@1", "recall@5", "recall@10", "recall@20", "mean of 2 sets"):
        assert name in aerial.text
    assert "given, not chosen for these descriptors: mutual_nn, ransac" in aerial.text
    assert "tuned on synthetic-val" in aerial.text
    assert "unverified against official files: nardo_air" in aerial.text
    rows = list(csv.DictReader((aerial.root / "first" / "table.csv").open()))
    assert len(rows) == 10
    first = aerial.blocks[0].lines[1].metrics["recall@1"].mean
    assert float(rows[1]["recall@1"]) == first


def test_the_vocabulary_is_that_of_the_whole_domain(aerial: Done) -> None:
    parts = read_vocabulary_images(aerial.root / "data" / "vlad_anyloc_vitg_aerial.npz")
    assert [(part.dataset, part.step) for part in parts] == [
        ("nardo_air_r", 1),
        ("nardo_air", 1),
        ("vpair", 2),
    ]
    assert parts[2].names == tuple(MINIATURES["vpair"].gallery[::2])


def test_the_numbers_are_those_of_the_single_commands(aerial: Done, tmp_path: Path) -> None:
    data = tmp_path / "data"
    for name in ("nardo_air", "nardo_air_r", "vpair"):
        MINIATURES[name].write(data, side=96)
        prepare_set.run(compose("prepare_set", [f"dataset={name}", f"data_root={data}"]))
        given = [f"dataset={name}", "desc_name=anyloc_vitg_320", "splits=[gallery]", "workers=1"]
        extract_descriptors.run(
            compose(
                "extract_descriptors", [*given, *STORES, "outputs=[local]", f"data_root={data}"]
            )
        )
    build_vocabulary.run(
        compose("build_vocabulary", ["recipe=anyloc_aerial", *VOCABULARY, f"data_root={data}"])
    )
    name = "nardo_air_r"
    given = [f"dataset={name}", f"data_root={data}"]
    local = ["desc_name=sift", "backbone.arguments.top_k=60", "workers=1"]
    extract_descriptors.run(compose("extract_descriptors", [*given, *local]))
    mine = [*given, "desc_name=mine"]
    vocabulary = f"vocabulary={data / 'vlad_anyloc_vitg_aerial.npz'}"
    images = ["source=images", "workers=1", vocabulary]
    extract_globals.run(compose("extract_globals", [*mine, *IMAGES, *images]))
    prepare_topk_global.run(compose("prepare_topk_global", mine))
    lists = f"neighbors={data / MINIATURES[name].folder / 'nn_mine_vlad.hdf5'}"
    for line in aerial.blocks[1].lines[1:]:
        own = [f"weights={aerial.root / line.name}"]
        if line.name in ("mutual_nn", "ransac"):
            own = [f"{key}={line.settings[key]}" for key in ("lamb", "temp")]
        more = [f"model={line.name}", "desc_name=sift", lists, "num_rerank=100", *own]
        output = [f"output_dir={tmp_path / line.name}", "report_queries=0"]
        found = evaluate.run(compose("evaluate", [*given, *more, *output]))
        assert found["rows"][0]["metrics"] == {n: v.mean for n, v in line.metrics.items()}
        globally = aerial.blocks[1].lines[0].metrics
        assert found["global"] == {n: v.mean for n, v in globally.items()}


def test_a_second_run_makes_nothing_again(
    aerial: Done, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    before = written(aerial.root / "data")
    described = []
    monkeypatch.setattr(
        "ames_lite.extraction.descriptors.describe_all",
        lambda jobs, *_: described.extend(jobs) or [],
    )
    blocks = run(aerial.root, "second", *aerial.words, f"scores={aerial.root / 'first'}")
    assert written(aerial.root / "data") == before and not described
    assert repr(blocks) == repr(aerial.blocks)  # nan is not itself
    tables = [(aerial.root / name / "table.md").read_text() for name in ("first", "second")]
    assert tables[0] == tables[1]
    said = capsys.readouterr().out
    assert said.count("kept: ") == 3  # the vocabulary, two neighbour lists
    for name in ("ames", "elvis", "mutual_nn", "ransac"):
        found = json.loads(
            (aerial.root / "second" / "nardo_air" / name / "results.json").read_text()
        )
        assert found["cost"]["pairs"] == 0


def test_every_printed_command_composes(aerial: Done) -> None:
    lines = [line.partition("ames ")[2] for line in aerial.said.splitlines() if " s] ames " in line]
    for line in lines:
        name, *words = shlex.split(line)
        assert compose(name, words)
    assert Counter(line.split()[0] for line in lines) == {
        "prepare_set": 3,
        "extract_descriptors": 5,  # of two sets, and of three for the vocabulary
        "build_vocabulary": 1,
        "extract_globals": 2,
        "prepare_topk_global": 2,
        "evaluate": 8,
    }


def test_another_run_directory_is_asked_for(aerial: Done) -> None:
    with pytest.raises(BadInput, match="the run has ended"):
        run(aerial.root, "first", *aerial.words)


def test_stale_files_are_refused_with_both_values(aerial: Done, tmp_path: Path) -> None:
    root = tmp_path / "copy"
    shutil.copytree(aerial.root / "data", root / "data")
    words = [*aerial.words[:-2], "rerankers=[ransac]"]
    other = [w.replace("num_clusters=4", "num_clusters=5") for w in words]
    with pytest.raises(UserError, match="num_clusters is 4 in .*aerial.npz and 5 in this run"):
        run(root, "a", *other)
    with pytest.raises(UserError, match="image_size is 480 in .* and 240 in this run"):
        run(root, "b", *words, "backbone.arguments.image_size=240")
    folder = root / "data" / "test_40_midref_rot0"
    shutil.copy(  # the same lists and provenance, other descriptors
        root / "data" / "test_40_midref_rot90" / "nn_anyloc_vitg_aerial_vlad.hdf5", folder
    )
    draw(folder / "query_images/9.png", 77, 96)  # another picture under the same name
    for side in ("query", "gallery"):
        (folder / f"anyloc_vitg_aerial_{side}_vlad.hdf5").unlink()
    with pytest.raises(BadInput, match="similarity(.|\n)*prepare_topk_global dataset=nardo_air"):
        run(root, "c", *words)


def test_results_of_an_interrupted_run_are_taken_while_what_they_follow_from_is_the_same(
    aerial: Done, tmp_path: Path
) -> None:
    shutil.copytree(aerial.root / "data", tmp_path / "data")
    words = [*aerial.words, "rerankers=[ransac]", f"scores={aerial.root / 'first'}"]
    blocks = run(tmp_path, "run", *words)
    (tmp_path / "run" / "table.csv").unlink()
    assert repr(run(tmp_path, "run", *words)) == repr(blocks)
    (tmp_path / "run" / "table.csv").unlink()
    path = next((tmp_path / "data").glob("*/gnd_*midref_rot0.json"))
    truth = read_json_file(path, "")
    truth["queries"][0]["positives"].pop()
    path.write_text(json.dumps(truth))
    with pytest.raises(BadInput, match=f"the run had another {path.name}(.|\n)*evaluate again"):
        run(tmp_path, "run", *words)


@pytest.mark.slow
def test_amstertime_by_its_cls_token_in_both_directions(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    MINIATURES["amstertime"].write(tmp_path / "data", side=96)
    words = ["experiment=amstertime", *TINY_CLS, *heads(tmp_path, "tiny_random", 32)]
    there, back = run(tmp_path, "run", *words)
    assert (there.dataset, back.dataset) == ("amstertime", "amstertime_swapped")
    # by hand: old 0 and 2 show new 0, old 10 shows new 10: two of three, in either direction
    for block in (there, back):
        assert block.lines[0].metrics["recall@1"].mean == pytest.approx(2 / 3)
        assert len(block.lines) == 5
    text = (tmp_path / "run" / "table.md").read_text()
    assert "recall@5" in text and "recall@10" not in text
    said = capsys.readouterr().out
    assert said.count("ames extract_descriptors") == 2  # CLS from the same pass
    assert said.count("ames prepare_set") == 2
    data = tmp_path / "data"
    before = written(data)
    (data / "amstertime_swapped" / "nn_tiny_random_cls.hdf5").unlink()
    run(tmp_path, "again", *words)
    after = written(data)
    changed = {path for path in before if before[path] != after[path]}
    assert changed == {str(data / "amstertime_swapped" / "nn_tiny_random_cls.hdf5")}
    for path, side in (("amstertime", "query"), ("amstertime_swapped", "gallery")):
        assert (data / path / f"tiny_random_{side}_cls.hdf5").is_file()
    single = ["dataset=amstertime", "swap=true", "desc_name=tiny_random", "model=ransac"]
    single += ["lamb=0.2", "temp=0.02", "num_rerank=100", "report_queries=0"]
    output = [f"data_root={data}", f"output_dir={tmp_path / 'single'}"]
    found = evaluate.run(compose("evaluate", [*single, *output]))
    line = back.lines[-1]
    assert found["rows"][0]["metrics"] == {name: v.mean for name, v in line.metrics.items()}


def test_global_rankings_alone_describe_nothing_local(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    MINIATURES["amstertime"].write(tmp_path / "data", side=96)
    both = run(tmp_path, "run", "experiment=amstertime", "rerankers=[none]", *TINY_CLS)
    for block in both:
        (line,) = block.lines
        assert line.metrics["recall@1"].mean == pytest.approx(2 / 3)
    assert not list(tmp_path.rglob("*_local.hdf5")) and not list(tmp_path.rglob("scores.hdf5"))
    assert capsys.readouterr().out.count("outputs=[global]") == 2


@pytest.mark.parametrize("name", ["nardo", "nardo-r"])
def test_a_published_recipe_ends_with_the_published_row(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for one in ("nardo_air", "nardo_air_r"):
        MINIATURES[one].write(tmp_path / "data", side=96)
    sources = "sources=[nardo_air_r:1,nardo_air:1]"
    tiny = [word("global_extraction", IMAGES)]
    tiny.append(word("vocabulary_options", [*VOCABULARY, "domain=nardo", sources, "size=vitb"]))
    (block,) = run(tmp_path, "run", f"experiment={name}", *LOCAL, *tiny)
    said = capsys.readouterr().out
    table = [line.split() for line in said[said.index("published ") :].splitlines()]
    place, recall = block.dataset, 100 * block.lines[0].metrics["recall@5"].mean
    expected = {"nardo_air": 77.46, "nardo_air_r": 92.96}[place]
    assert [place, "recall@5", f"{expected:.2f}", f"{recall:.2f}"] in [row[:4] for row in table]
    assert not list((tmp_path / "data" / MINIATURES[place].folder).glob("sift*"))
    published = find_rows(f"nardo_vitb.{place}", PLACE_ROWS)[0].expected
    own = compose("place_recognition", [f"experiment={name}"]).published["vitb"][place]
    assert {key: value / 100 for key, value in own.items()} == pytest.approx(published)


def test_all_that_lacks_is_one_message_before_any_work(tmp_path: Path) -> None:
    data = tmp_path / "data"
    MINIATURES["nardo_air"].write(data, side=48)
    (data / MINIATURES["nardo_air"].folder / "query_images" / "9.png").unlink()
    # a list that names what is not there
    MINIATURES["nardo_air_r"].write(data, side=48)
    prepare_set.run(compose("prepare_set", ["dataset=nardo_air_r", f"data_root={data}"]))
    gone = data / MINIATURES["nardo_air_r"].folder / "reference_images" / "30.png"
    gone.unlink()
    words = [*AERIAL, f"ames.weights={tmp_path / 'nohead'}", "ransac.temp=null"]
    with pytest.raises(UserError) as error:
        run(tmp_path, "run", *words)
    text = str(error.value)
    for part in ("nardo_air:", "1 of 6 gallery images are missing", "'reference_images/30.png'"):
        assert part in text
    for part in ("vpair, of which vlad_anyloc_vitg_aerial.npz is built", "VPAir", "nohead"):
        assert part in text
    assert "ransac: λ and γ are unknown" in text
    assert not list(data.rglob("*.hdf5")) and not (tmp_path / "run").exists()


def test_weights_of_networks_are_looked_for_before_any_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "cache"))
    for name in ("nardo_air", "nardo_air_r", "vpair"):
        MINIATURES[name].write(tmp_path / "data", side=48)
    with pytest.raises(UserError) as error:
        run(tmp_path, "run", "experiment=anyloc_aerial", "size=vitb")
    text = str(error.value)
    for part in ("local descriptors:", "global descriptors:", "vocabulary:"):
        assert part in text
    assert "facebook/dinov2-base" in text and "facebook/dinov2-with-registers-base" in text


def test_sets_that_are_absent_are_left_out_only_when_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    MINIATURES["gardens"].write(tmp_path / "data", side=48)
    words = [
        *LOCAL,
        "sets=[gardens,hawkins,laurel]",
        word("vocabulary_options", ["num_clusters=4"]),
    ]
    words += ["rerankers=[mutual_nn]"]
    with pytest.raises(MissingFile, match="hawkins(.|\n)*laurel"):
        run(tmp_path, "run", *words)
    (block,) = run(tmp_path, "run", *words, "skip_missing=true")
    assert block.dataset == "gardens"
    assert block.lines[0].metrics["recall@1"].mean == pytest.approx(2 / 3)  # looks 0 2 0
    assert (tmp_path / "data" / "vlad_sift_gardens.npz").is_file()  # of its own local descriptors
    assert "left out: hawkins" in capsys.readouterr().out
    assert "left out: laurel" in (tmp_path / "run" / "table.md").read_text()
    (tmp_path / "data" / "gardens" / "gardens_gt.npy").write_bytes(b"no array")
    for path in (tmp_path / "data" / "gardens").glob("gnd*.json"):
        path.unlink()
    with pytest.raises(BadInput, match="gardens"):  # there, and wrong
        run(tmp_path, "other", *words, "skip_missing=true")
    with pytest.raises(MissingFile, match="none of the sets"):
        gone = [w.replace("gardens,", "") for w in words]
        run(tmp_path, "none", *gone, "skip_missing=true")


def test_rerankers_without_weights_are_left_out_or_an_error_if_asked_for(aerial: Done) -> None:
    words = [w for w in aerial.words if not w.startswith("elvis.")]
    run(aerial.root, "without", *words, f"scores={aerial.root / 'first'}")
    assert (
        "left out: elvis: no weights are given"
        in (aerial.root / "without" / "table.md").read_text()
    )
    with pytest.raises(BadInput, match="elvis: model=elvis needs trained weights"):
        run(aerial.root, "asked", *words, "rerankers=[elvis]")
    wrong = [w for w in words if not w.startswith("ames.")]
    other = heads(aerial.root / "wide", "sift", 64)[0]
    with pytest.raises(BadInput, match="width 64, sift has 128"):
        run(aerial.root, "wide_run", *wrong, other)


@pytest.mark.parametrize(
    "words, message",
    [
        ([], "sets= is not given"),
        (["sets=[atlantis]"], "no dataset 'atlantis'"),
        (["sets=[gardens,gardens]"], "each set once"),
        (["sets=[gardens:back]"], "<dataset>:swap"),
        (["sets=[gardens:swap]"], r"no key 'dataset\.swap'"),
        (["sets=[gardens]", "rerankers=[rrt]"], "some of ames"),
        (["sets=[gardens]", "rerankers=[]"], "some of ames"),
        (["sets=[gardens]", "global=netvlad"], "one of vlad"),
        (["sets=[gardens]", "global_desc_name=other"], "global_extraction="),
        (["sets=[gardens]", word("global_extraction", ["backbone=sift"])], "global_desc_name="),
        (["experiment=ames_binary"], "experiment=ames_binary is not one of place_recognition"),
        (["experiment=anyloc_indoor", "size=vitx"], "vitx"),
        (["sets=[gardens]", "size=vitb"], "size=vitb is of AnyLoc's experiments"),
    ],
)
def test_what_does_not_go_together_is_refused(words: list[str], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Pipeline(compose("place_recognition", words))


def test_several_processes_are_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(ConfigError, match="one process"):
        run(tmp_path, "run", "experiment=amstertime")


def test_unknown_columns_are_refused_before_any_work(tmp_path: Path) -> None:
    MINIATURES["gardens"].write(tmp_path / "data", side=48)
    with pytest.raises(UserError, match="no set has 'recall@2'"):
        run(tmp_path, "run", *LOCAL, "sets=[gardens]", "columns=[recall@2]")
    assert not list((tmp_path / "data").rglob("*.hdf5"))


RECIPES = [name for name in experiments_of("place_recognition") if "anyloc_" in name]


@pytest.mark.parametrize(
    "name, size, layer",
    [
        *(
            pytest.param(name, "vitg", 31, marks=[pytest.mark.slow] * ("global" in name))
            for name in RECIPES
        ),
        ("anyloc_aerial", "vitb", 11),
    ],
)
def test_every_recipe_is_anylocs(name: str, size: str, layer: int) -> None:
    """ViT-g/14 layer 31 value, 32 clusters, centre crop of images as they are, or as published."""
    config = compose("place_recognition", [f"experiment={name}", f"size={size}"])
    pipeline = Pipeline(config)
    domain = name.removeprefix("anyloc_")
    for place, stages in zip(pipeline.places, pipeline.stages().values(), strict=True):
        composed = {one.command[0]: pipeline.steps.config(*one.command) for one in stages}
        vocabulary, given = composed["build_vocabulary"], composed["extract_globals"]
        assert given.vocabulary.name == f"vlad_anyloc_{size}_{domain}.npz"
        assert vocabulary.num_clusters == 32
        seen = {source.partition(":")[0] for source in vocabulary.sources}
        assert seen == {one.dataset.option for one in pipeline.places}
        arguments = given.backbone.arguments
        assert given.backbone.name == f"dinov2_{size}14"
        assert (arguments["facet"], arguments["layer"]) == ("value", layer)
        assert (arguments["method"], arguments["top_k"]) == ("center_crop", 0)
        assert arguments["image_size"] == (place.dataset.published_size or 0)
        assert given.desc_name == f"anyloc_{size}_{domain}"


def test_words_are_what_hydra_reads_back() -> None:
    for value in ("a b", "it's", "/x=y,z", "null", "7", "[a]", "{b}"):
        assert compose("evaluate", [word("weights", value)]).weights == Path(value)
    for values in (0.5, [0.1, 2]):
        assert compose("evaluate", [word("temp", values)]).temp == values
    assert compose("evaluate", [word("resume", True), word("tuned", None)]).resume is True
    (place,) = Pipeline(compose("place_recognition", ["sets=[17places]"])).places
    assert place.name == "17places"
