"""The command lines of the READMEs of AMES, ELViS and AnyLoc, and of the jobs around them.

Option names and values as facts. Every line composes here as it is typed, or says the line to write
instead. They are run too, on miniatures of the sets: a tiny network with random weights in place of
DINOv2, and heads of random weights for it.
"""

import json
import shlex
from pathlib import Path

import pytest
import torch

from ames_lite.cli import run
from ames_lite.cli.compose import compose
from ames_lite.cli.overrides import in_our_words
from ames_lite.cli.schema import SCHEMAS
from ames_lite.errors import ConfigError
from ames_lite.models import ELViS
from tests.cli.test_place_recognition import ANYLOC, STORES, VOCABULARY
from tests.cli.test_roxford import official
from tests.datasets.vpr.miniatures import MINIATURES, draw
from tests.models.seeded import seeded_head

EVALUATE = (
    "--multirun descriptors=dinov2 data_root=data model_path=dinov2_ames.pt model.binarized=False "
    "dataset@test_dataset=roxford test_dataset.query_desc_num=600 test_dataset.db_desc_num=600 "
    "test_dataset.batch_size=300 test_dataset.lamb=[0.55] test_dataset.temp=[0.3] "
    "test_dataset.num_rerank=[1600]"
)
TRAIN = "--multirun desc_name=dinov2 data_root=data {} train_dataset.batch_size=30"
SMALL = ["epochs=1", "max_count=8", "min_count=4", "min_each=2", "val_dataset=null", "device=cpu"]
SMALL += ["model.arguments.dim=16"]
EXTRACT = (
    "--dataset roxford5k --backbone {} --save_path data --data_path data/roxford5k --split {} "
    "--file_name test_gallery.txt --desc_type local --pretrained"
)
LINES = [
    # AMES
    ("evaluate", EVALUATE),
    ("train", "--multirun desc_name=dinov2 data_root=data model.binarized=False"),
    ("train", "--multirun desc_name=dinov2 data_root=data train_dataset.batch_size=300"),
    ("train", "desc_name=dinov2 data_root=data model.binarized=True teacher=dinov2_ames.pt"),
    *(
        ("extract_descriptors", EXTRACT.replace("roxford5k --b", f"{dataset} --b").format(*how))
        for dataset in ("gldv2", "roxford5k", "rparis6k")
        for how in (("dinov2", "_gallery"), ("cvnet", "_query"), ("dinov2", "''"))
    ),
    ("extract_descriptors", "--dataset gldv2 --backbone cvnet --split '' --weights r101.pyth"),
    *(
        ("prepare_topk_global", f"--dataset {dataset} --desc_name dinov2 --data_root data")
        for dataset in ("gldv2", "gldv2-test", "roxford5k", "rparis6k")
    ),
    *(
        ("merge_hdf5", f"--dataset {dataset} --desc_name dinov2 --data_root data")
        for dataset in ("gldv2", "gldv2-test", "roxford5k", "rparis6k")
    ),
    # ELViS
    *(
        ("evaluate", f"dataset={name} model=elvis desc_name=dinov2")
        for name in ("sop-1k", "rp2k-test")
    ),
    *(
        ("evaluate", f"dataset=roxford model=elvis weights={name}.pt")
        for name in ("dinov2_elvis_gld", "dinov2_elvis_sop")
    ),
    # AnyLoc
    ("build_vocabulary", "--datasets nardo nardo-r --clusters 32"),
    ("place_recognition", "--dataset nardo --recall 1,5,10,20"),
    ("place_recognition", "--dataset nardo-r --recall 1,5,10,20"),
    # CLS on AmsterTime, in both directions
    ("extract_descriptors", "dataset=amstertime desc_name=dinov2 outputs=[global]"),
    ("prepare_topk_global", "dataset=amstertime desc_name=dinov2 global=cls swap=true"),
    ("place_recognition", "experiment=amstertime"),
    # VLAD of rooms
    (
        "build_vocabulary",
        "dataset=folder name=rooms desc_name=dinov2 split=gallery",
    ),
    ("extract_globals", "dataset=folder name=rooms desc_name=dinov2 global=vlad"),
]


@pytest.mark.parametrize("command, line", LINES, ids=lambda text: text[:60])
def test_every_line_composes_as_it_is_typed(command: str, line: str) -> None:
    words = [word for word in shlex.split(line) if word not in ("-m", "--multirun")]
    config = compose(command, in_our_words(command, words))
    assert isinstance(config, SCHEMAS[command])


def test_a_size_of_batches_says_what_to_write() -> None:
    with pytest.raises(ConfigError, match="batch_pixels"):
        in_our_words("extract_descriptors", ["--batch_size", "8"])


def test_the_lines_of_ames_lead_to_its_table(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    official(tmp_path / "data")
    assert run("prepare_set", ["dataset=roxford5k", "data_root=data"]) == 0
    for split in ("_query", "_gallery"):
        line = [*shlex.split(EXTRACT.format("tiny_random", split)), "workers=1"]
        assert (
            run("extract_descriptors", [*line, "desc_name=dinov2", "outputs=[local,global]"]) == 0
        )
    lists = "--dataset roxford5k --desc_name dinov2 --data_root data".split()
    assert run("prepare_topk_global", [*lists, "global=cls"]) == 0
    head = seeded_head(dim_in=32, num_layers=1)
    torch.save({"state": head.state_dict(), "optim": None, "epoch": 9}, "dinov2_ames.pt")
    more = ["model.arguments.num_layers=1", "neighbors=cls", "report_queries=0"]
    assert run("evaluate", [*shlex.split(EVALUATE), *more]) == 0
    said = capsys.readouterr().out
    assert said.count("understood as ") >= 4
    [path] = (tmp_path / "runs").rglob("results.json")
    results = json.loads(path.read_text())
    row = results["rows"][0]
    assert (row["lamb"], row["temp"], row["query_desc_num"]) == (0.55, 0.3, 600)
    assert results["dataset"] == "roxford" and row["num_rerank"] == 12  # all there are


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The empty folder data/ of the working directory."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "cache"))
    return tmp_path / "data"


def succeeds(command: str, line: str, *more: str) -> None:
    assert run(command, [*shlex.split(line), *more]) == 0


def landmarks(root: Path) -> None:
    """GLDv2 in miniature: six landmarks in five pictures each, listed as published."""
    names = [f"{label}/{number}.png" for label in range(6) for number in range(5)]
    for number, name in enumerate(names):
        draw(root / name, number, side=84)
    lines = [f"{name},{name[0]},84,84" for name in names]
    (root / "train_750k.txt").write_text("\n".join(lines))


def described(dataset: str, folder: str, *splits: str) -> None:
    """Descriptors of every split and the lists, by AMES' lines."""
    for split in splits:
        line = EXTRACT.replace("data/roxford5k", f"data/{folder}").replace("roxford5k", dataset)
        line = line.format("tiny_random", split or "''")
        more = ["desc_name=dinov2", "outputs=[local,global]", "workers=1"]
        succeeds("extract_descriptors", line, *more)
    lists = f"--dataset {dataset} --desc_name dinov2 --data_root data"
    succeeds("prepare_topk_global", lists, "global=cls")


def test_the_lines_of_ames_train_a_head_and_distil_it(data: Path) -> None:
    landmarks(data / "gldv2")
    described("gldv2", "gldv2", "")
    small = [*SMALL, "model.arguments.dim_feedforward=16", "model.arguments.num_layers=2"]
    succeeds("train", TRAIN.format("model.binarized=False"), *small, "hydra.sweep.dir=whole")
    distilled = TRAIN.format("model.binarized=True teacher=whole/0")
    succeeds("train", distilled, *small, "hydra.sweep.dir=distilled")
    for folder, binary in (("whole", False), ("distilled", True)):
        meta = json.loads(Path(folder, "0", "meta.json").read_text())
        assert meta["arguments"]["binary"] == binary and meta["desc_name"] == "dinov2"


@pytest.mark.slow
def test_the_lines_of_elvis_lead_from_training_to_its_table(data: Path) -> None:
    landmarks(data / "gldv2")
    described("gldv2", "gldv2", "")
    trained = ["model=elvis", *SMALL, "hydra.sweep.dir=trained"]
    succeeds("train", TRAIN.format("experiment=elvis"), *trained)
    for name in ("sop", "rp2k"):
        MINIATURES[name].write(data, side=84)
    for dataset, folder in (("sop-1k", "sop"), ("rp2k-test", "rp2k")):
        succeeds("prepare_set", f"dataset={dataset} data_root=data")
        described(dataset, folder, "_query", "_gallery")
        line = f"dataset={dataset} model=elvis desc_name=dinov2 data_root=data lamb=0.5 temp=0.5"
        succeeds("evaluate", line, "weights=trained/0", f"output_dir={folder}")
        results = json.loads(Path(folder, "results.json").read_text())
        assert results["dataset"] == folder and results["model"] == "elvis"
        assert {"map@100", "recall@1"} <= {*results["rows"][0]["metrics"]}


@pytest.mark.parametrize("name", ["dinov2_elvis_gld", "dinov2_elvis_sop"])
def test_a_published_head_of_elvis_is_named_where_it_is_missing(
    name: str, data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    described_roxford(data)
    line = f"dataset=roxford model=elvis weights={name}.pt desc_name=dinov2 data_root=data"
    more = ["neighbors=cls", "report_queries=0", "lamb=0.5", "temp=0.5"]
    assert run("evaluate", [*line.split(), *more]) == 1
    said = capsys.readouterr().err
    assert f"{data.parent / name}.pt is not there" in said
    assert f"weights={name} trust=true" in said
    state = ELViS(dim_in=32, dim=16).state_dict()
    torch.save({"state": state, "optim": None, "epoch": 9}, f"{name}.pt")
    succeeds("evaluate", line, *more, "output_dir=out")
    assert json.loads(Path("out/results.json").read_text())["model"] == "elvis"


def described_roxford(data: Path) -> None:
    official(data)
    succeeds("prepare_set", "dataset=roxford5k data_root=data")
    described("roxford5k", "roxford5k", "_query", "_gallery")


def test_the_lines_of_anyloc_lead_to_its_recalls(data: Path) -> None:
    for name in ("nardo_air", "nardo_air_r"):
        MINIATURES[name].write(data, side=96)
        succeeds("prepare_set", f"dataset={name} data_root=data")
        stores = ["desc_name=anyloc_vitg_320", "splits=[gallery]", "outputs=[local]", "workers=1"]
        succeeds("extract_descriptors", f"dataset={name} data_root=data", *STORES, *stores)
    built = "--datasets nardo nardo-r --clusters 32"
    succeeds("build_vocabulary", built, "data_root=data", *VOCABULARY[1:])
    [vocabulary] = data.glob("vlad_anyloc_vitg_*.npz")
    given = ["data_root=data", f"vocabulary='{vocabulary}'", *ANYLOC[:-1]]
    for name, folder in (("nardo", "nardo_air"), ("nardo-r", "nardo_air_r")):
        line = f"--dataset {name} --recall 1,5,10,20"
        succeeds("place_recognition", line, *given, f"output_dir={name}")
        assert Path(name, folder, "ransac", "results.json").is_file()
        table = Path(name, "table.md").read_text()
        assert all(f"recall@{k}" in table for k in (1, 5, 10, 20))


@pytest.mark.parametrize(
    "command, line, missing",
    [
        ("place_recognition", "--dataset nardo --recall 1,5,10,20", ["facebook/dinov2-giant"]),
        (
            "place_recognition",
            "--dataset nardo --recall 1,5,10,20 size=vitb",
            ["facebook/dinov2-base"],
        ),
        (
            "build_vocabulary",
            "--datasets nardo nardo-r --clusters 32",
            ["dataset=nardo_air desc_name=anyloc_vitg_320", "backbone=dinov2_vitg14"],
        ),
        (
            "evaluate",
            "dataset=sop-1k model=elvis desc_name=dinov2",
            ["weights=dinov2_elvis_sop trust=true"],
        ),
        (
            "evaluate",
            "dataset=rp2k-test model=elvis desc_name=dinov2",
            ["prepare_set.py dataset=rp2k"],
        ),
        (
            "extract_descriptors",
            "dataset=nardo_air desc_name=dinov2",
            ["dinov2-with-registers-base"],
        ),
    ],
)
def test_what_a_line_needs_is_named(
    command: str, line: str, missing: list[str], data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    MINIATURES["nardo_air"].write(data, side=48)
    assert run("prepare_set", ["dataset=nardo", "data_root=data"]) == 0
    assert run(command, [*shlex.split(line), "data_root=data"]) == 1
    said = capsys.readouterr().err
    assert all(one in said for one in missing), said
