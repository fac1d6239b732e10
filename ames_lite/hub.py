"""The entries of hubconf.py: heads by name, and how their weights are found."""

import re
import socket
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch

from ames_lite.errors import BadInput, ConfigError, MissingFile, existing_file, require
from ames_lite.io.checkpoint import load_head
from ames_lite.io.digest import file_digest
from ames_lite.io.shipped import shipped
from ames_lite.models import HEADS, SimilarityHead, build_head
from ames_lite.models.published import PUBLISHED_HEADS, of_its_form

PUBLIC = "http://ptak.felk.cvut.cz/personal/sumapave/public"
SHIPPED_REMEDY = "a whole checkout, weights=<folder> of a head of your own, or pretrained=False"
FETCH = "fetch it by a way that you trust and pass weights=<path>"
TIMEOUT = 30.0  # seconds without a byte before a download is given up
DOCUMENTATION = """{about}

    pretrained  load its weights (True); False: a freshly initialised head
    weights     path of weights to load instead: a published `.pt`, a native folder or .safetensors
    progress    show the progress of a download on standard error
    trust       allow a download whose digest is not known: plain http, no hash is published
    sha256      digest that the file must have, where you know it; then trust is not needed
    arguments   any argument of the head's constructor (ames_lite/models/)

    Returns the head, in eval mode where it has weights; `ensemble` is its (λ, γ) where known. A
    download lands in torch.hub.get_dir()/checkpoints.
    """


class Entry(NamedTuple):
    """A head by name."""

    about: str
    head: str  # of HEADS
    arguments: Mapping[str, Any]  # of its constructor
    address: str | None = None  # of published weights; None: they are shipped (weights/<name>)


def _published_ames(name: str, backbone: str) -> Entry:
    head = PUBLISHED_HEADS[name]
    kind = f"binarised {backbone}" if head.binary else backbone
    about = f"AMES on {kind} descriptors [B, N, {head.dim_in}]. Published with lamb "
    about += f"{head.lamb:.2f} and temp {head.temp:.2f}."
    arguments = {"dim_in": head.dim_in} | ({"binary": True} if head.binary else {})
    return Entry(about, "ames", arguments, f"{PUBLIC}/ames/networks/{name}.pt")


def _published_elvis(name: str, backbone: str, dim_in: int, trained_on: str) -> Entry:
    about = f"ELViS on {backbone} descriptors [B, N, {dim_in}], trained on {trained_on}. "
    about += "Its output is a sum of votes, at most Q + T, and depends on padding: trim before."
    return Entry(about, "elvis", {"dim_in": dim_in}, f"{PUBLIC}/elvis/networks/{name}.pt")


ENTRIES = {
    "dinov2_ames": _published_ames("dinov2_ames", "DINOv2 ViT-B/14"),
    "dinov2_ames_dist": _published_ames("dinov2_ames_dist", "DINOv2"),
    "cvnet_ames": _published_ames("cvnet_ames", "CVNet ResNet-101"),
    "cvnet_ames_dist": _published_ames("cvnet_ames_dist", "CVNet"),
    "dinov2_elvis": _published_elvis("dinov2_elvis_gld", "DINOv2 ViT-B/14", 768, "GLDv2"),
    "dinov2_elvis_gld": _published_elvis("dinov2_elvis_gld", "DINOv2 ViT-B/14", 768, "GLDv2"),
    "dinov2_elvis_sop": _published_elvis("dinov2_elvis_sop", "DINOv2 ViT-B/14", 768, "SOP"),
    "dinov3_elvis_gld": _published_elvis("dinov3_elvis_gld", "DINOv3 ViT-L/16", 1024, "GLDv2"),
    "siglip2_elvis_gld": _published_elvis("siglip2_elvis_gld", "SigLIP 2 So400m", 1152, "GLDv2"),
    "sift_ames": Entry("AMES on RootSIFT descriptors [B, N, 128].", "ames", {"dim_in": 128}),
    "sift_elvis": Entry("ELViS on RootSIFT descriptors [B, N, 128].", "elvis", {"dim_in": 128}),
    "photo_elvis": Entry(
        "ELViS on descriptors [B, N, 256] of backbone=photo.",
        "elvis",
        {"dim_in": 256, "dim": 256, "count_padding": False},
    ),
    "photo_elvis_small": Entry(
        "ELViS of width 64 on [B, N, 256] of backbone=photo, taught by photo_elvis: faster.",
        "elvis",
        {"dim_in": 256, "dim": 64, "count_padding": False},
    ),
}


def entry_point(name: str) -> Callable[..., SimilarityHead]:
    """The function that torch.hub calls for an entry, with its documentation."""

    def load(
        pretrained: bool = True,
        weights: str | Path | None = None,
        progress: bool = True,
        trust: bool = False,
        sha256: str | None = None,
        **arguments: Any,
    ) -> SimilarityHead:
        entry = ENTRIES[name]
        built = {**entry.arguments, **arguments}
        digest = None if sha256 is None else sha256.lower()
        if digest is not None and not re.fullmatch("[0-9a-f]{64}", digest):
            raise ConfigError(f"sha256 is '{sha256}'", expected="64 hex digits")
        if weights is not None:
            if digest is not None:
                _check_sha256(Path(weights).expanduser(), digest)
            return _load(name, weights, built)
        if not pretrained:
            return build_head(entry.head, **built)
        if entry.address is None:
            return _load(name, shipped_head(name), built)
        path = _published(entry.address, digest, progress, trust)
        try:
            return _load(name, path, built)
        except BadInput as error:
            again = f"if it is not what {entry.address} holds, delete it: it is fetched again"
            raise BadInput(str(error), remedy=again) from error

    load.__name__, load.__doc__ = name, DOCUMENTATION.format(about=ENTRIES[name].about)
    return load


def head_files(name: str, trust: bool) -> Path | None:
    """The folder of a shipped head, the file of a published one (ConfigError without trust)."""
    entry = ENTRIES.get(name)
    if entry is None:
        return None
    if entry.address is None:
        return shipped_head(name)
    return _published(entry.address, None, True, trust)


def names_for(desc_name: str, head: str) -> list[str]:
    """The entries of a head for descriptors of this name."""
    return [name for name in ENTRIES if name.startswith(f"{desc_name}_{head}")]


def _load(name: str, path: str | Path, arguments: dict[str, Any]) -> SimilarityHead:
    model = load_head(path, **arguments)[0]
    renamed = model.ensemble is None and Path(path).suffix == ".pt"
    if renamed and name == of_its_form(model.arguments):
        model.ensemble = PUBLISHED_HEADS[name][2:]
    wanted, came = HEADS[ENTRIES[name].head], f"the weights are of {type(model).__name__}"
    expected = f"{wanted.__name__}, as {name} is"
    require(type(model) is wanted, came, where=path, expected=expected)
    return model


def shipped_head(name: str, remedy: str = SHIPPED_REMEDY) -> Path:
    """The folder of a shipped head. Raises MissingFile."""
    folder = shipped(name)
    what = f"no head {name} is shipped with this copy of the repository"
    expected = "weights.safetensors and meta.json"
    existing_file(folder / "weights.safetensors", what, expected=expected, remedy=remedy)
    return folder


def _published(address: str, sha256: str | None, progress: bool, trust: bool) -> Path:
    """Path of a published file in the hub's checkpoint folder, fetched if it is not there yet."""
    path = Path(torch.hub.get_dir()) / "checkpoints" / address.rsplit("/", 1)[1]
    what = f"{address} is plain http and no hash of it is published"
    expected = "trust=True (trust=true in a shell) to download and use it (tensors only), "
    expected += "or sha256=<digest> where you know it"
    remedy, known = f"or {FETCH}", trust or sha256 is not None
    require(known, what, where=path, expected=expected, remedy=remedy, kind=ConfigError)
    if not path.is_file():
        _download(address, path, sha256, progress)
    sys.stderr.write(f"{path}: sha256 {_check_sha256(path, sha256)}\n")
    return path


def _check_sha256(path: Path, sha256: str | None) -> str:
    """The digest of a file. Raises BadInput where it is not the one that is expected."""
    existing_file(path.absolute(), "there is no file to check by sha256")
    digest = file_digest(path)
    what, expected = f"the file has sha256 {digest}", f"sha256 {sha256}"
    remedy = "delete or replace it; nothing of it was loaded"
    require(sha256 in (None, digest), what, where=path, expected=expected, remedy=remedy)
    return digest


def _download(address: str, path: Path, sha256: str | None, progress: bool) -> None:
    """Fetch a file, whole or not at all. Raises MissingFile; BadInput for another digest."""
    before = socket.getdefaulttimeout()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        socket.setdefaulttimeout(TIMEOUT)
        torch.hub.download_url_to_file(address, str(path), sha256, progress)
        _refuse_cut(path)
    except OSError as error:  # URLError, HTTPError and time-outs are OSErrors
        what = f"{address} could not be fetched: {error or type(error).__name__}"
        where, remedy = f"{path} (not there yet)", f"try again, or {FETCH}"
        expected = "the published weights"
        raise MissingFile(what, where=where, expected=expected, remedy=remedy) from error
    except RuntimeError as error:  # torch.hub raises it for another digest
        what = f"what came from {address} is another file: {error}"
        where, expected = f"{path} (nothing was kept)", f"sha256 {sha256}"
        raise BadInput(what, where=where, expected=expected, remedy=FETCH) from error
    finally:
        socket.setdefaulttimeout(before)


def _refuse_cut(path: Path) -> None:
    """Delete a truncated zip archive (a checkpoint) and raise ConnectionError: torch.hub does not
    compare the file with the length that the server announced.
    """
    with path.open("rb") as file:
        archive = file.read(4) == b"PK\x03\x04"
        file.seek(max(0, path.stat().st_size - 66_000))  # an archive ends with its directory
        cut = archive and b"PK\x05\x06" not in file.read()
    if cut:
        path.unlink()
        raise ConnectionError("it broke off")
