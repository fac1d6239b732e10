"""torch.hub entry points: heads by name, ready to score pairs of images.

    model = torch.hub.load("<owner>/ames_lite", "dinov2_ames").eval()
    logit = model(src_local=query, tgt_local=gallery)   # [B, Q, Din], [B, T, Din] -> [B]

Every entry takes
    pretrained  load the published weights (True); False: a freshly initialised head
    weights     path of weights to load instead: a published `.pt`, a native folder or .safetensors
    progress    show a progress bar while downloading
    trust       allow the download of published weights: it is plain http and no hash is published
    arguments   any argument of the head's constructor (ames_lite/models/ames.py)
and returns the head. Needs nothing but torch, einops and safetensors. The convention to know: masks
(`src_mask`, `tgt_mask`) are True on padding.
"""

from __future__ import annotations

import sys as _sys
from pathlib import Path as _Path
from typing import Any as _Any

import torch as _torch

from ames_lite.errors import ConfigError as _ConfigError
from ames_lite.errors import MissingFile as _MissingFile
from ames_lite.io.checkpoint import file_sha256 as _file_sha256
from ames_lite.io.checkpoint import load_head as _load_head
from ames_lite.models import SimilarityHead as _SimilarityHead
from ames_lite.models import build_head as _build_head

dependencies = ["torch", "einops", "safetensors"]

_AMES_URL = "http://ptak.felk.cvut.cz/personal/sumapave/public/ames/networks/"


def dinov2_ames(
    pretrained: bool = True,
    weights: str | _Path | None = None,
    progress: bool = True,
    trust: bool = False,
    **arguments: _Any,
) -> _SimilarityHead:
    """AMES on DINOv2 ViT-B/14 descriptors [B, N, 768]. Published with lamb 0.50 and temp 0.20."""
    arguments = {"dim_in": 768, **arguments}
    return _head("dinov2_ames", arguments, pretrained, weights, progress, trust)


def dinov2_ames_dist(
    pretrained: bool = True,
    weights: str | _Path | None = None,
    progress: bool = True,
    trust: bool = False,
    **arguments: _Any,
) -> _SimilarityHead:
    """AMES on binarised DINOv2 descriptors [B, N, 768], distilled. Lamb 0.35, temp 0.10."""
    arguments = {"dim_in": 768, "binary": True, **arguments}
    return _head("dinov2_ames_dist", arguments, pretrained, weights, progress, trust)


def cvnet_ames(
    pretrained: bool = True,
    weights: str | _Path | None = None,
    progress: bool = True,
    trust: bool = False,
    **arguments: _Any,
) -> _SimilarityHead:
    """AMES on CVNet ResNet-101 descriptors [B, N, 1024]. Published with lamb 0.85 and temp 0.80."""
    arguments = {"dim_in": 1024, **arguments}
    return _head("cvnet_ames", arguments, pretrained, weights, progress, trust)


def cvnet_ames_dist(
    pretrained: bool = True,
    weights: str | _Path | None = None,
    progress: bool = True,
    trust: bool = False,
    **arguments: _Any,
) -> _SimilarityHead:
    """AMES on binarised CVNet descriptors [B, N, 1024], distilled. Lamb 0.65, temp 0.20."""
    arguments = {"dim_in": 1024, "binary": True, **arguments}
    return _head("cvnet_ames_dist", arguments, pretrained, weights, progress, trust)


def sift_ames(
    pretrained: bool = True,
    weights: str | _Path | None = None,
    progress: bool = True,
    trust: bool = False,
    **arguments: _Any,
) -> _SimilarityHead:
    """AMES on SIFT descriptors [B, N, 128]. No weights are released: pass weights or train."""
    if pretrained and weights is None:
        raise _ConfigError(
            "no weights of sift_ames are released",
            expected="weights=<folder> of a head of your own, or pretrained=False",
            remedy="make demo   # trains one on images that it renders",
        )
    return _head("sift_ames", {"dim_in": 128, **arguments}, False, weights, progress, trust)


def _head(
    entry: str,
    arguments: dict[str, _Any],
    pretrained: bool,
    weights: str | _Path | None,
    progress: bool,
    trust: bool,
) -> _SimilarityHead:
    if weights is None and pretrained:
        weights = _published(f"{_AMES_URL}{entry}.pt", progress, trust)
    if weights is not None:
        return _load_head(weights, **arguments)[0]
    return _build_head("ames", **arguments)


def _published(url: str, progress: bool, trust: bool) -> _Path:
    """Path of a published file in the hub's checkpoint folder, fetched if it is not there yet."""
    path = _Path(_torch.hub.get_dir()) / "checkpoints" / url.rsplit("/", 1)[1]
    if not trust:
        raise _ConfigError(
            f"{url} is plain http and no hash of it is published",
            where=path,
            expected="trust=True to download and use it all the same (tensors only, no code)",
            remedy="or fetch it by a way that you trust and pass weights=<path>",
        )
    if not path.is_file():
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            _torch.hub.download_url_to_file(url, str(path), progress=progress)
        except OSError as error:  # URLError and HTTPError are OSErrors
            raise _MissingFile(
                f"{url} could not be downloaded: {error}",
                where=path,
                expected="the published weights",
                remedy="fetch them by another way and pass weights=<path>",
            ) from error
    _sys.stderr.write(f"{path}: sha256 {_file_sha256(path)}\n")
    return path
