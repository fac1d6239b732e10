"""The visible dict, and what importing it costs."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
import torch
from torch import nn

from ames_lite.errors import ConfigError
from ames_lite.models import HEADS, build_head


@pytest.mark.parametrize("name", HEADS)
def test_every_head_builds_and_is_rebuilt_from_its_arguments(name: str) -> None:
    head = build_head(name, dim_in=16)
    assert isinstance(head, nn.Module)
    again = build_head(name, **json.loads(json.dumps(head.arguments)))
    assert again.arguments == head.arguments
    again.load_state_dict(head.state_dict(), strict=True)
    x = torch.randn(2, 3, 16, generator=torch.Generator().manual_seed(0))
    assert head.eval()(src_local=x, tgt_local=x).shape == (2,)
    assert set(head.state_dict()) >= ({head.marker} if head.marker else set())
    assert (head.marker is None) == (not head.state_dict())


def test_published_parameters_have_their_names() -> None:
    names = set(build_head("ames", num_layers=1, pre_norm=True).state_dict())
    attention = ["in_proj_weight", "in_proj_bias", "out_proj.weight", "out_proj.bias"]
    layer = [f"{block}_attn.{part}" for block in ("self", "cross") for part in attention]
    rest = ["linear1", "linear2", "norm1", "norm2", "norm3"]
    layer += [f"{block}.{part}" for block in rest for part in ("weight", "bias")]
    own = ["remap_local.0", "remap_local.1", "decoder.norm", "classifier"]
    expected = {f"decoder.layers.0.{part}" for part in layer}
    expected |= {f"{block}.{part}" for block in own for part in ("weight", "bias")}
    assert names == expected | {"mtc_token"}
    binary = set(build_head("ames", num_layers=1, pre_norm=True, binary=True).state_dict())
    assert binary - names == {"remap_local.0.W", "remap_local.2.weight", "remap_local.2.bias"}
    assert names - binary == {"remap_local.0.weight", "remap_local.0.bias"}


def test_unknown_names_and_arguments_are_refused_with_what_exists() -> None:
    with pytest.raises(ConfigError, match="(?s)no head 'amex'.*ames"):
        build_head("amex")
    with pytest.raises(ConfigError, match="(?s)no argument 'num_layer'.*num_layers"):
        build_head("ames", num_layer=3)


@pytest.mark.parametrize("wrong", [{"dim": 127}, {"num_layers": 0}, {"dim_in": "768"}])
def test_impossible_sizes_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ConfigError, match=next(iter(wrong))):
        build_head("ames", **wrong)


def test_import_pulls_in_no_heavy_library() -> None:
    code = (
        "import json, sys, torch; before = set(sys.modules); import ames_lite.models, "
        "ames_lite.io.checkpoint; "
        "print(json.dumps(sorted({m.split('.')[0] for m in set(sys.modules) - before})))"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = set(json.loads(run.stdout))
    assert "ames_lite" in loaded
    heavy = {"h5py", "faiss", "hydra", "omegaconf", "cv2", "transformers", "scipy", "PIL", "kornia"}
    assert not loaded & heavy
