"""Heads in folders and on the Hugging Face Hub; nothing is fetched or sent here."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from huggingface_hub import HfApi

from ames_lite.errors import BadInput, MissingFile
from ames_lite.io.checkpoint import HeadMeta, load_head, save_head
from ames_lite.models import AMES, ELViS, SimilarityHead, build_head

META = HeadMeta(desc_name="sift", lamb=0.25, temp=0.5, provenance={"tuned_on": "a set"})


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    save_head(tmp_path / "head", build_head("ames", dim_in=16, dim=8, num_layers=1), META)
    return tmp_path / "head"


def _same(a: SimilarityHead, b: SimilarityHead) -> bool:
    other = b.state_dict()
    return all(torch.equal(value, other[name]) for name, value in a.state_dict().items())


def test_a_head_goes_through_a_folder_with_all_that_is_known_of_it(
    folder: Path, tmp_path: Path
) -> None:
    head = SimilarityHead.from_pretrained(folder)
    assert isinstance(head, AMES) and head.ensemble == (0.25, 0.5) and not head.training
    head.save_pretrained(tmp_path / "again")
    again, meta = load_head(tmp_path / "again")
    assert _same(head, again) and meta == META
    form = json.loads((tmp_path / "again" / "config.json").read_text())
    assert form == {"model": "ames", "arguments": head.arguments}


def test_a_card_has_a_header_and_says_how_to_load(folder: Path, tmp_path: Path) -> None:
    head = AMES.from_pretrained(folder)
    head.save_pretrained(tmp_path / "saved", model_card_kwargs={"model_id": "me/mine"})
    _, header, text = (tmp_path / "saved" / "README.md").read_text().split("---\n", 2)
    assert yaml.safe_load(header)["library_name"] == "ames_lite"
    assert 'from_pretrained("me/mine")' in text and "λ 0.25" in text and "'sift'" in text


def test_a_head_that_was_never_stored_can_be_saved(tmp_path: Path) -> None:
    build_head("elvis", dim_in=16).save_pretrained(tmp_path)
    assert isinstance(SimilarityHead.from_pretrained(tmp_path), ELViS)


def test_another_class_is_refused(folder: Path) -> None:
    with pytest.raises(BadInput, match="AMES"):
        ELViS.from_pretrained(folder)


def test_a_name_is_looked_up_in_the_cache_of_the_hub(folder: Path, tmp_path: Path) -> None:
    repository, commit = tmp_path / "cache" / "models--me--mine", "0" * 40
    (repository / "refs").mkdir(parents=True)
    (repository / "refs" / "main").write_text(commit)
    (repository / "snapshots").mkdir()
    folder.rename(repository / "snapshots" / commit)
    where: dict[str, Any] = {"cache_dir": tmp_path / "cache", "local_files_only": True}
    assert isinstance(SimilarityHead.from_pretrained("me/mine", **where), AMES)
    for name in ("me/none", "no name!"):
        with pytest.raises(MissingFile, match=name):
            SimilarityHead.from_pretrained(name, **where)


def test_what_is_pushed_is_what_is_saved(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sent: dict[str, Any] = {}

    class Made:
        repo_id = "me/mine"

    def upload(self: HfApi, **given: Any) -> str:
        where = Path(given["folder_path"])
        sent.update(given, names={path.name for path in where.iterdir()}, head=load_head(where))
        return "https://the.hub/me/mine/commit/1"

    monkeypatch.setattr(HfApi, "create_repo", lambda self, **given: Made())
    monkeypatch.setattr(HfApi, "upload_folder", upload)
    head = SimilarityHead.from_pretrained(folder)
    address = head.push_to_hub("me/mine", commit_message="as trained")
    assert address == "https://the.hub/me/mine/commit/1" and sent["repo_id"] == "me/mine"
    assert sent["names"] == {"README.md", "config.json", "meta.json", "weights.safetensors"}
    assert sent["commit_message"] == "as trained" and sent["head"][1] == META
    assert _same(sent["head"][0], head)


def test_shipped_cards_have_the_header() -> None:
    cards = sorted((Path(__file__).parents[1] / "weights").glob("*/README.md"))
    assert len(cards) == 4
    for card in cards:
        header = yaml.safe_load(card.read_text(encoding="utf-8").split("---\n")[1])
        assert header["license"] == "apache-2.0" and "reranking" in header["tags"]
