"""torch.hub entry points: heads by name, ready to score pairs of images.

    model = torch.hub.load("<owner>/ames_lite", "dinov2_ames").eval()
    logit = model(src_local=query, tgt_local=gallery)   # [B, Q, Din], [B, T, Din] -> [B]

Every entry takes
    pretrained  load the published weights (True); False: a freshly initialised head
    weights     path of weights to load instead: a published `.pt`, a native folder or .safetensors
    progress    show on standard error how far a download is
    trust       allow a download whose digest is not known: plain http, no hash is published
    sha256      digest that the file must have, where you know it; then trust is not needed
    arguments   any argument of the head's constructor (ames_lite/models/)
and returns the head; `ensemble` is its (λ, γ), where weights were loaded whose λ and γ are known.
A download lands in torch.hub.get_dir()/checkpoints, whole or not at all; the
sha256 of what is loaded from there is shown on standard error. Needs nothing but torch, einops and
safetensors. One process holds one checkout: a second one is refused (ImportError). The convention
to know: masks (`src_mask`, `tgt_mask`) are True on padding.
"""

# ruff: noqa: E402 - before ames_lite is imported it is looked at which one that will be

from __future__ import annotations

import os as _os
import sys as _sys
import uuid as _uuid
from http.client import HTTPException as _HTTPException
from http.client import HTTPResponse as _HTTPResponse
from pathlib import Path as _Path
from typing import Any as _Any
from typing import BinaryIO as _BinaryIO
from urllib.request import Request as _Request
from urllib.request import urlopen as _urlopen

import torch as _torch


def _refuse_another_checkout() -> None:
    """Raise ImportError where the ames_lite of this process is not the one beside this file."""
    own = _Path(__file__).resolve().parent / "ames_lite"
    loaded = _sys.modules.get("ames_lite")
    places = [_Path(place).resolve() for place in getattr(loaded, "__path__", [])]
    if loaded is not None and own.is_dir() and own not in places:
        raise ImportError(
            "another ames_lite is loaded already in this process\n"
            f"  where:    {', '.join(map(str, places))}\n"
            f"  expected: {own}\n"
            "  remedy:   load this checkout in a new process"
        )


_refuse_another_checkout()  # Python would take the one that is loaded, without a word

from ames_lite.errors import BadInput as _BadInput
from ames_lite.errors import ConfigError as _ConfigError
from ames_lite.errors import MissingFile as _MissingFile
from ames_lite.io.checkpoint import file_sha256 as _file_sha256
from ames_lite.io.checkpoint import load_head as _load_head
from ames_lite.models import HEADS as _HEADS
from ames_lite.models import SimilarityHead as _SimilarityHead
from ames_lite.models import build_head as _build_head
from ames_lite.models.published import PUBLISHED_HEADS as _PUBLISHED_HEADS
from ames_lite.models.published import of_its_form as _of_its_form

dependencies = ["torch", "einops", "safetensors"]

_PUBLIC = "http://ptak.felk.cvut.cz/personal/sumapave/public/"
# Address and sha256 of published weights. None: no hash is published, and none is invented here.
_PUBLISHED: dict[str, tuple[str, str | None]] = {
    "dinov2_ames": (f"{_PUBLIC}ames/networks/dinov2_ames.pt", None),
    "dinov2_ames_dist": (f"{_PUBLIC}ames/networks/dinov2_ames_dist.pt", None),
    "cvnet_ames": (f"{_PUBLIC}ames/networks/cvnet_ames.pt", None),
    "cvnet_ames_dist": (f"{_PUBLIC}ames/networks/cvnet_ames_dist.pt", None),
    "dinov2_elvis": (f"{_PUBLIC}elvis/networks/dinov2_elvis_gld.pt", None),
}
_TIMEOUT = 30.0  # seconds without a byte before a download is given up


def dinov2_ames(
    pretrained: bool = True,
    weights: str | _Path | None = None,
    progress: bool = True,
    trust: bool = False,
    sha256: str | None = None,
    **arguments: _Any,
) -> _SimilarityHead:
    """AMES on DINOv2 ViT-B/14 descriptors [B, N, 768]. Published with lamb 0.50 and temp 0.20."""
    arguments = {"dim_in": 768, **arguments}
    return _head("dinov2_ames", "ames", arguments, pretrained, weights, progress, trust, sha256)


def dinov2_ames_dist(
    pretrained: bool = True,
    weights: str | _Path | None = None,
    progress: bool = True,
    trust: bool = False,
    sha256: str | None = None,
    **arguments: _Any,
) -> _SimilarityHead:
    """AMES on binarised DINOv2 descriptors [B, N, 768], distilled. Lamb 0.35, temp 0.10."""
    arguments = {"dim_in": 768, "binary": True, **arguments}
    entry = "dinov2_ames_dist"
    return _head(entry, "ames", arguments, pretrained, weights, progress, trust, sha256)


def cvnet_ames(
    pretrained: bool = True,
    weights: str | _Path | None = None,
    progress: bool = True,
    trust: bool = False,
    sha256: str | None = None,
    **arguments: _Any,
) -> _SimilarityHead:
    """AMES on CVNet ResNet-101 descriptors [B, N, 1024]. Published with lamb 0.85 and temp 0.80."""
    arguments = {"dim_in": 1024, **arguments}
    return _head("cvnet_ames", "ames", arguments, pretrained, weights, progress, trust, sha256)


def cvnet_ames_dist(
    pretrained: bool = True,
    weights: str | _Path | None = None,
    progress: bool = True,
    trust: bool = False,
    sha256: str | None = None,
    **arguments: _Any,
) -> _SimilarityHead:
    """AMES on binarised CVNet descriptors [B, N, 1024], distilled. Lamb 0.65, temp 0.20."""
    arguments = {"dim_in": 1024, "binary": True, **arguments}
    return _head("cvnet_ames_dist", "ames", arguments, pretrained, weights, progress, trust, sha256)


def dinov2_elvis(
    pretrained: bool = True,
    weights: str | _Path | None = None,
    progress: bool = True,
    trust: bool = False,
    sha256: str | None = None,
    **arguments: _Any,
) -> _SimilarityHead:
    """ELViS on DINOv2 ViT-B/14 descriptors [B, N, 768], trained on GLDv2.

    Its output is a sum of votes, at most Q + T, and depends on padding: trim before.
    """
    arguments = {"dim_in": 768, **arguments}
    return _head("dinov2_elvis", "elvis", arguments, pretrained, weights, progress, trust, sha256)


def sift_ames(
    pretrained: bool = True,
    weights: str | _Path | None = None,
    progress: bool = True,
    trust: bool = False,
    sha256: str | None = None,
    **arguments: _Any,
) -> _SimilarityHead:
    """AMES on RootSIFT descriptors [B, N, 128]; its weights lie in the repository (weights/)."""
    given = _shipped("sift_ames", weights) if pretrained else weights
    return _head(
        "sift_ames", "ames", {"dim_in": 128, **arguments}, False, given, progress, trust, sha256
    )


def sift_elvis(
    pretrained: bool = True,
    weights: str | _Path | None = None,
    progress: bool = True,
    trust: bool = False,
    sha256: str | None = None,
    **arguments: _Any,
) -> _SimilarityHead:
    """ELViS on RootSIFT descriptors [B, N, 128]; its weights lie in the repository (weights/)."""
    given = _shipped("sift_elvis", weights) if pretrained else weights
    return _head(
        "sift_elvis", "elvis", {"dim_in": 128, **arguments}, False, given, progress, trust, sha256
    )


def photo_elvis(
    pretrained: bool = True,
    weights: str | _Path | None = None,
    progress: bool = True,
    trust: bool = False,
    sha256: str | None = None,
    **arguments: _Any,
) -> _SimilarityHead:
    """ELViS on descriptors [B, N, 256] of backbone=photo; its weights lie in the repository."""
    given = _shipped("photo_elvis", weights) if pretrained else weights
    own = {"dim_in": 256, "dim": 256, "count_padding": False, **arguments}
    return _head("photo_elvis", "elvis", own, False, given, progress, trust, sha256)


def _shipped(entry: str, weights: str | _Path | None) -> str | _Path:
    """The folder of weights that come with the repository, unless others are given."""
    if weights is not None:
        return weights
    folder = _Path(__file__).resolve().parent / "weights" / entry
    if not (folder / "weights.safetensors").is_file():
        raise _MissingFile(
            f"the weights of {entry} are not in this copy of the repository",
            where=folder,
            expected="weights.safetensors and meta.json, as the repository has them",
            remedy="a whole checkout, weights=<folder> of a head of your own, or pretrained=False",
        )
    return folder


def _head(
    entry: str,
    name: str,
    arguments: dict[str, _Any],
    pretrained: bool,
    weights: str | _Path | None,
    progress: bool,
    trust: bool,
    sha256: str | None,
) -> _SimilarityHead:
    """The head `name` (in HEADS) of an entry, in eval mode where it has weights."""
    if sha256 is not None and (len(sha256) != 64 or set(sha256.lower()) - set("0123456789abcdef")):
        raise _ConfigError(f"sha256 is '{sha256}'", expected="64 hex digits")
    if weights is not None:
        if sha256 is not None:
            _check_sha256(_Path(weights).expanduser(), sha256)
        return _load(entry, name, weights, arguments)
    if not pretrained:
        return _build_head(name, **arguments)
    address, pinned = _PUBLISHED[entry]
    path = _published(address, sha256 or pinned, progress, trust)
    try:
        return _load(entry, name, path, arguments)
    except _BadInput as error:
        remedy = f"if the file is not what {address} holds, delete it: it is fetched again"
        raise _BadInput(str(error), remedy=remedy) from error


def _load(entry: str, name: str, path: str | _Path, arguments: dict[str, _Any]) -> _SimilarityHead:
    model = _load_head(path, **arguments)[0]
    renamed = model.ensemble is None and _Path(path).suffix == ".pt"
    if renamed and entry == _of_its_form(model.arguments):
        model.ensemble = _PUBLISHED_HEADS[entry][2:]
    if type(model) is not _HEADS[name]:
        came = f"the weights are of {type(model).__name__}"
        raise _BadInput(came, where=path, expected=f"{_HEADS[name].__name__}, as {entry} is one")
    return model


def _published(address: str, sha256: str | None, progress: bool, trust: bool) -> _Path:
    """Path of a published file in the hub's checkpoint folder, fetched if it is not there yet."""
    path = _Path(_torch.hub.get_dir()) / "checkpoints" / address.rsplit("/", 1)[1]
    if sha256 is None and not trust:
        raise _ConfigError(
            f"{address} is plain http and no hash of it is published",
            where=path,
            expected="trust=True to download and use it all the same (tensors only, no code), "
            "or sha256=<digest> where you know it",
            remedy="or fetch it by a way that you trust and pass weights=<path>",
        )
    if not path.is_file():
        _download(address, path, sha256, progress)
    digest = _check_sha256(path, sha256)
    _sys.stderr.write(f"{path}: sha256 {digest}\n")
    return path


def _check_sha256(path: _Path, sha256: str | None) -> str:
    """The digest of a file. Raises BadInput where it is not the one that is expected."""
    if not path.is_file():
        raise _MissingFile("there is no file to check by sha256", where=path.absolute())
    digest = _file_sha256(path)
    if sha256 is not None and digest != sha256.lower():
        raise _BadInput(
            f"the file has sha256 {digest}",
            where=path,
            expected=f"sha256 {sha256.lower()}",
            remedy="delete or replace it; nothing of it was loaded",
        )
    return digest


def _download(address: str, path: _Path, sha256: str | None, progress: bool) -> None:
    """Fetch a file. Raises MissingFile where that fails, BadInput where its digest is another."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _fetch(address, path, sha256, progress)
    except (OSError, _HTTPException) as error:  # URLError, HTTPError and time-outs are OSErrors
        raise _MissingFile(
            f"{address} could not be fetched: {error or type(error).__name__}",
            where=f"{path} (not there yet)",
            expected="the published weights",
            remedy="try again, or fetch them by another way and pass weights=<path>",
        ) from error


def _fetch(address: str, path: _Path, sha256: str | None, progress: bool) -> None:
    """The file has a temporary name until it is whole and has the digest that is expected."""
    partial = path.with_name(f".{path.name}.{_uuid.uuid4().hex}.partial")
    request = _Request(address, headers={"User-Agent": "ames_lite"})
    with _urlopen(request, timeout=_TIMEOUT) as answer:
        try:
            with partial.open("xb") as file:
                _copy(answer, file, progress)
            digest = _file_sha256(partial)
            if sha256 is not None and digest != sha256.lower():
                raise _BadInput(
                    f"what came from {address} has sha256 {digest}",
                    where=f"{path} (nothing was kept)",
                    expected=f"sha256 {sha256.lower()}",
                    remedy="fetch it by a way that you trust and pass weights=<path>",
                )
            _os.replace(partial, path)
        finally:
            partial.unlink(missing_ok=True)


def _copy(answer: _HTTPResponse, file: _BinaryIO, progress: bool) -> None:
    """All that the server sends. Raises ConnectionError where it sends less than it announced."""
    total, done = answer.length, 0
    of_total = "" if total is None else f" of {total / 2**20:.1f}"
    while block := answer.read(1 << 18):
        file.write(block)
        done += len(block)
        if progress:
            _sys.stderr.write(f"\r{done / 2**20:.1f}{of_total} MiB")
    if progress and done:
        _sys.stderr.write("\n")
    if total is not None and done != total:
        raise ConnectionError(f"it broke off after {done} of {total} bytes")
