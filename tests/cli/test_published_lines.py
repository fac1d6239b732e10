"""The command lines of the READMEs of AMES, ELViS and AnyLoc, and of the jobs around them.

Option names and values as facts. Every line composes here as it is typed, or says the line to write
instead; AMES' lines are run too, on a miniature of ROxford: a tiny network with random weights in
place of DINOv2, a head of random weights for it.
"""

import json
import shlex
from pathlib import Path

import pytest
import torch

from ames_lite.cli import run
from ames_lite.cli.compose import compose
from ames_lite.cli.schema import SCHEMAS
from ames_lite.cli.spellings import in_our_words
from ames_lite.errors import ConfigError
from tests.cli.test_roxford import official
from tests.models.seeded import seeded_head

EVALUATE = (
    "--multirun descriptors=dinov2 data_root=data model_path=dinov2_ames.pt model.binarized=False "
    "dataset@test_dataset=roxford test_dataset.query_desc_num=600 test_dataset.db_desc_num=600 "
    "test_dataset.batch_size=300 test_dataset.lamb=[0.55] test_dataset.temp=[0.3] "
    "test_dataset.num_rerank=[1600]"
)
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
