"""torch.hub serves the heads from any directory, with nothing but torch, einops, safetensors."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from ames_lite.errors import ConfigError, MissingFile
from ames_lite.io.checkpoint import HeadMeta, save_head
from tests.models.seeded import descriptors, seeded_head

ROOT = Path(__file__).resolve().parents[1]

IN_A_BARE_ENVIRONMENT = """
import json, sys, warnings

class Refuse:
    def find_spec(self, name, path=None, target=None):
        top = name.split(".")[0]
        if top in {"numpy", "h5py", "hydra", "omegaconf", "faiss", "cv2", "scipy", "PIL", "tqdm",
                   "transformers", "jinja2"}:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Refuse())
with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # torch itself warns where numpy is absent
    import torch

repo, weights = sys.argv[1:]
answer = {}
for entry, dim_in in {"dinov2_ames": 768, "dinov2_ames_dist": 768, "cvnet_ames": 1024,
                      "cvnet_ames_dist": 1024, "sift_ames": 128}.items():
    model = torch.hub.load(repo, entry, source="local", pretrained=False).eval()
    q, t = torch.randn(1, 7, dim_in), torch.randn(1, 5, dim_in)
    logit = model(src_local=q, tgt_local=t)
    assert logit.shape == (1,) and logit.isfinite().all()
    answer[entry] = model.arguments["binary"]
own = torch.hub.load(repo, "sift_ames", source="local", weights=weights)
answer["layers"] = own.arguments["num_layers"]
answer["training"] = own.training
print(json.dumps(answer))
"""


def entry(name: str, **arguments: Any) -> Any:
    return torch.hub.load(str(ROOT), name, source="local", **arguments)


def test_entries_load_quietly_elsewhere_and_without_the_other_libraries(tmp_path: Path) -> None:
    head = seeded_head(dim_in=128, num_layers=2)
    save_head(tmp_path / "head", head, HeadMeta("sift"))
    command = [sys.executable, "-c", IN_A_BARE_ENVIRONMENT, str(ROOT), str(tmp_path / "head")]
    run = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, timeout=300)
    assert run.returncode == 0, run.stderr
    assert run.stderr == ""
    answer = json.loads(run.stdout)
    assert answer["layers"] == 2 and not answer["training"]
    assert answer["dinov2_ames_dist"] and answer["cvnet_ames_dist"]
    assert not answer["dinov2_ames"] and not answer["cvnet_ames"] and not answer["sift_ames"]


def test_constructor_arguments_pass_through_and_wrong_ones_do_not() -> None:
    model = entry("dinov2_ames", pretrained=False, num_layers=2, round_gallery_fp16=False)
    assert model.arguments["num_layers"] == 2 and not model.arguments["round_gallery_fp16"]
    with pytest.raises(ConfigError, match="(?s)no argument 'num_layer'.*num_layers"):
        entry("dinov2_ames", pretrained=False, num_layer=2)


def test_weights_of_the_wrong_kind_or_place_are_named(tmp_path: Path) -> None:
    save_head(tmp_path, seeded_head(dim_in=128), HeadMeta("sift"))
    with pytest.raises(ValueError, match="(?s)remap_local.0.weight has shape"):
        entry("dinov2_ames", weights=tmp_path)
    with pytest.raises(MissingFile, match="nowhere.pt"):
        entry("dinov2_ames", weights=tmp_path / "nowhere.pt")


PUBLISHED = ["dinov2_ames", "dinov2_ames_dist", "cvnet_ames", "cvnet_ames_dist"]


@pytest.mark.parametrize("name", PUBLISHED)
def test_without_trust_nothing_is_downloaded(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*arguments: Any, **named: Any) -> None:
        raise AssertionError("a download was started")

    monkeypatch.setattr(torch.hub, "download_url_to_file", refuse)
    message = f"(?s)http://.*/ames/networks/{name}.pt.*plain http.*trust=True.*weights=<path>"
    with pytest.raises(ConfigError, match=message):
        entry(name)


def test_sift_has_no_released_weights() -> None:
    with pytest.raises(
        ConfigError, match="(?s)no weights of sift_ames.*weights=<folder>.*make demo"
    ):
        entry("sift_ames")


def test_trusted_weights_are_fetched_once_and_their_digest_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    head = seeded_head(dim_in=768, num_layers=2)
    fetched: list[tuple[str, bool]] = []

    def fetch(url: str, path: str, progress: bool) -> None:
        fetched.append((url, progress))
        torch.save({"state": head.state_dict(), "optim": {}, "epoch": 1}, path)

    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    monkeypatch.setattr(torch.hub, "download_url_to_file", fetch)
    for _ in range(2):
        model = entry("dinov2_ames", trust=True, progress=False)
        x = descriptors(1, 1, 5, 768)
        assert torch.equal(model(x, tgt_local=x), head(x, tgt_local=x))
        assert "sha256" in capsys.readouterr().err
    assert fetched == [(f"{URL}dinov2_ames.pt", False)]
    assert (tmp_path / "checkpoints" / "dinov2_ames.pt").is_file()


URL = "http://ptak.felk.cvut.cz/personal/sumapave/public/ames/networks/"


def test_a_download_that_fails_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(url: str, path: str, progress: bool) -> None:
        raise OSError("no route to host")

    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    monkeypatch.setattr(torch.hub, "download_url_to_file", fail)
    with pytest.raises(MissingFile, match="(?s)no route to host.*weights=<path>"):
        entry("cvnet_ames", trust=True)
