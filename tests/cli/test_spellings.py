"""Published spellings: every command line of the READMEs is understood, or says what to write."""

import shlex

import pytest

from ames_lite.cli.overrides import in_our_words
from ames_lite.errors import ConfigError

AMES_TEST = (
    "descriptors=dinov2 data_root=data model_path=dinov2_ames.pt model.binarized=False "
    "dataset@test_dataset=roxford test_dataset.query_desc_num=600 test_dataset.db_desc_num=600 "
    "test_dataset.batch_size=300 test_dataset.lamb=[0.55] test_dataset.temp=[0.3] "
    "test_dataset.num_rerank=[1600]"
)
LINES = {
    ("evaluate", AMES_TEST): "desc_name=dinov2 data_root=data weights=dinov2_ames.pt "
    "model.arguments.binary=False dataset=roxford query_desc_num=600 gallery_desc_num=600 "
    "lamb=[0.55] temp=[0.3] num_rerank=[1600]",
    (
        "train",
        "desc_name=dinov2 model.binarized=True teacher=dinov2_ames.pt train_dataset.batch_size=300",
    ): "desc_name=dinov2 model.arguments.binary=True "
    "teacher=dinov2_ames.pt batch_size=300 batch_unit=images",
    (
        "extract_descriptors",
        "--dataset roxford5k --backbone dinov2 --save_path data "
        "--data_path 'my images' --split _query --file_name test_query.txt --desc_type 'local' "
        "--pretrained",
    ): "dataset=roxford backbone=dinov2 data_root=data 'images=my images' "
    "splits=[query] outputs=[local]",
    (
        "extract_descriptors",
        "--dataset gldv2 --split '' --weights r101.pyth",
    ): "dataset=gldv2 splits=[train] backbone.arguments.weights=r101.pyth",
    (
        "prepare_topk_global",
        "--dataset gldv2 --desc_name dinov2 --data_root d",
    ): "dataset=gldv2 self_search=true desc_name=dinov2 data_root=d",
    ("prepare_topk_global", "--dataset rparis6k"): "dataset=rparis",
    ("merge_hdf5", "--dataset gldv2"): "dataset=gldv2 splits=[train]",
    (
        "build_vocabulary",
        "--datasets nardo nardo-r --clusters 32",
    ): "sources=[nardo_air:1,nardo_air_r:1] recipe=anyloc num_clusters=32",
    ("place_recognition", "--dataset nardo-r --recall 1,5,10,20"): "sets=[nardo_air_r] "
    "experiment=anyloc",
    ("evaluate", "dataset=sop-1k"): "dataset=sop",
    ("evaluate", "dataset=rp2k-test"): "dataset=rp2k",
}


@pytest.mark.parametrize("command, line", LINES)
def test_published_lines_are_understood(
    command: str, line: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert in_our_words(command, shlex.split(line)) == shlex.split(LINES[command, line])
    said = capsys.readouterr().out
    assert said.startswith("understood as ") and said.count("\n") == 1


@pytest.mark.parametrize("line", ["dataset=roxford num_rerank=[50,100]", "--multirun lamb=0.1,0.2"])
def test_words_of_ours_stay_and_nothing_is_said(
    line: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert in_our_words("evaluate", line.split()) == line.split()
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    "command, line, remedy",
    [
        ("train", "model_path=last.pt", "output_dir="),
        ("evaluate", "--recall 1,100", "1,5,10,20"),
        ("extract_descriptors", "--batch_size 8", "batch_pixels="),
        ("extract_descriptors", "--dataset roxford5k rparis6k", "one value"),
    ],
)
def test_another_meaning_says_what_to_write(command: str, line: str, remedy: str) -> None:
    with pytest.raises(ConfigError, match="means something else|several values") as error:
        in_our_words(command, line.split())
    assert remedy in str(error.value)
