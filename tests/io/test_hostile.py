"""Forged heads, weights, pickles and checkpoints are refused by name, soon, in little memory."""

from __future__ import annotations

import io
import json
import os
import pickle
import struct
import subprocess
import zipfile
from collections.abc import Callable
from contextlib import chdir
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from ames_lite.datasets.image_lists import read_image_list
from ames_lite.errors import BadInput
from ames_lite.io.checkpoint import HeadMeta, load_head, save_head
from ames_lite.io.images import load_image
from ames_lite.io.walking import walk_images
from ames_lite.io.weights_file import read_state as read_weights
from ames_lite.models import AMES, ELViS
from ames_lite.stores.fitted import read_vocabulary
from ames_lite.stores.neighbor_lists import read_neighbors
from ames_lite.stores.published.safe_pickle import NUMPY_ARRAYS, read_npy, read_pickle
from ames_lite.training.state import read_state, write_state
from tests.fuzz import kinds
from tests.hostile import assert_refused

Read = Callable[[Path], object]
INT = (1 << 31) - 1


def reads_weights(path: Path) -> object:
    return read_weights(path, "weights")


def reads_checkpoint(path: Path) -> object:
    return read_state(path, {"seed": 0}, {"weights"})


def write_meta(folder: Path, **changed: Any) -> Path:
    """The meta of the head in a folder, with other arguments and no digest."""
    path = folder / "meta.json"
    record = json.loads(path.read_text())
    record.pop("content_sha256")
    record["arguments"] |= changed
    path.write_text(json.dumps(record))
    return path


SIZES: list[dict[str, Any]] = [
    {"num_layers": 10**5},
    {"dim": 10**9},
    {"dim": 10**10},
    {"dim_in": 10**30},
    {"dim_feedforward": 10**18},
    {"binary": "yes"},
    {"pre_norm": [1]},
    {"binary_sigma": "small"},
    {"round_gallery_fp16": {"a": 1}},
    {"num_heads": 10**9},
    {"iterations": 10**9},
    {"sharpness": "much"},
    {"count_padding": [1]},
]


@pytest.mark.parametrize("changed", SIZES, ids=str)
def test_a_meta_that_asks_for_what_the_weights_have_not_is_refused(
    tmp_path: Path, changed: dict[str, Any]
) -> None:
    of_elvis = changed.keys() & {"iterations", "sharpness", "count_padding"}
    head = AMES(dim_in=8, dim=32, num_layers=1, dim_feedforward=8)
    save_head(tmp_path, ELViS(dim_in=8, dim=16) if of_elvis else head, HeadMeta())
    write_meta(tmp_path, **changed)
    assert next(iter(changed)) in assert_refused(lambda: load_head(tmp_path), tmp_path)


@pytest.mark.parametrize("text", ["[" * 10_000, '{"schema":' + "[" * 900 + "]" * 900 + "}"])
def test_a_deep_meta_is_refused(tmp_path: Path, text: str) -> None:
    save_head(tmp_path, AMES(dim_in=8, dim=32, num_layers=1, dim_feedforward=8), HeadMeta())
    (tmp_path / "meta.json").write_text(text)
    assert_refused(lambda: load_head(tmp_path), tmp_path / "meta.json")


def test_a_published_state_with_names_of_many_layers_is_refused(tmp_path: Path) -> None:
    state = AMES(dim_in=8, dim=32, num_layers=1, dim_feedforward=8).state_dict()
    state |= {f"decoder.layers.{at}.x": torch.ones(1) for at in range(500)}
    torch.save({"state": state}, tmp_path / "head.pt")
    assert_refused(lambda: load_head(tmp_path / "head.pt"), tmp_path / "head.pt")


def complex_ones() -> Tensor:
    return torch.ones(32, dtype=torch.complex64)


ODD: dict[str, Callable[[], Tensor]] = {
    "without values": lambda: torch.zeros(32, device="meta"),
    "sparse": lambda: torch.eye(32).to_sparse(),
    "sparse and huge": lambda: torch.sparse_coo_tensor(
        torch.zeros(1, 1, dtype=torch.long), torch.ones(1), (1 << 40,)
    ),
    "compressed rows": lambda: torch.eye(32).to_sparse_csr(),
    "float8": lambda: torch.ones(32).to(torch.float8_e4m3fn),
    "nested": lambda: torch.nested.nested_tensor([torch.ones(3), torch.ones(2)]),
    "jagged": lambda: torch.nested.nested_tensor(
        [torch.ones(3), torch.ones(2)], layout=torch.jagged
    ),
    "quantized": lambda: torch.quantize_per_tensor(torch.ones(32), 1.0, 0, torch.qint8),
    "complex": complex_ones,
    "conjugate": lambda: complex_ones().conj(),
    "negative": lambda: complex_ones().conj().imag,
    "4 TB of 4 bytes": lambda: torch.ones(1).expand(10**6, 10**6),
    "repeated": lambda: torch.ones(1).expand(32),
}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("what", ODD)
def test_a_tensor_that_is_not_plain_is_refused_in_every_file(tmp_path: Path, what: str) -> None:
    odd = ODD[what]()
    state = AMES(dim_in=8, dim=32, num_layers=1, dim_feedforward=8).state_dict()
    torch.save({"state": state | {"mtc_token": odd}}, tmp_path / "head.pt")
    torch.save({"a": odd}, tmp_path / "state.pth")
    torch.save(odd, tmp_path / "centers.pt")
    write_state(tmp_path / "last.pt", {"seed": 0}, {"weights": [{"a": odd}], "log_bytes": 3})
    readers: dict[str, Read] = {
        "head.pt": load_head,
        "state.pth": reads_weights,
        "centers.pt": read_vocabulary,
        "last.pt": reads_checkpoint,
    }
    for name, read in readers.items():
        said = assert_refused(lambda read=read, name=name: read(tmp_path / name), tmp_path / name)
        assert "tensor" in said


def test_plain_tensors_and_views_of_them_are_read(tmp_path: Path) -> None:
    whole = torch.arange(12.0).reshape(3, 4)
    given = {"a": whole, "b": whole.T, "c": torch.nn.Parameter(whole[1:]), "d": torch.tensor(3)}
    for name, zipped in (("new.pth", True), ("old.pth", False)):
        torch.save(given, tmp_path / name, _use_new_zipfile_serialization=zipped)
        found = read_weights(tmp_path / name, "weights")
        assert all(torch.equal(found[key], value) for key, value in given.items())


IDENTITIES: list[Any] = [3, None, "[1]", '"x"', "null", "[" * 10_000, {"seed": 0}, torch.ones(3)]


@pytest.mark.parametrize("identity", IDENTITIES, ids=lambda value: str(value)[:20])
def test_an_identity_of_another_kind_is_refused(tmp_path: Path, identity: Any) -> None:
    path = tmp_path / "last.pt"
    torch.save({"identity": identity, "log_bytes": 3, "weights": torch.ones(3)}, path)
    assert_refused(lambda: reads_checkpoint(path), path)


def archive_of(pickled: bytes) -> bytes:
    """An archive as PyTorch writes it, with another pickle."""
    made, forged = io.BytesIO(), io.BytesIO()
    torch.save({"a": torch.arange(4.0)}, made)
    with zipfile.ZipFile(made) as whole, zipfile.ZipFile(forged, "w") as archive:
        for name in whole.namelist():
            archive.writestr(name, pickled if name.endswith(".pkl") else whole.read(name))
    return forged.getvalue()


def deflated() -> bytes:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data.pkl", b"\x80\x02}.")
        archive.writestr("archive/data/0", bytes(72 << 20))
    return made.getvalue()


def called(module: str, name: str) -> bytes:
    """A dict with what a call gives for a large number."""
    number = struct.pack("<i", INT)
    call = f"c{module}\n{name}\n".encode() + b"J" + number + b"\x85R"
    return b"\x80\x02}X\x01\0\0\0a" + call + b"s."


def pairs(deep: int = 40) -> bytes:
    """Of pairs of the pair before, twice: named, as PyTorch does not double."""
    steps = [b"h" + bytes([at]) + b"\x86q" + bytes([at + 1]) for at in range(deep)]
    return b"K\x01q\0" + b"".join(steps)


PAIRS = pairs()
OLD = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19.\x80\x02M\xe9\x03.\x80\x02}."  # what came first
WEIGHTS: dict[str, Callable[[], bytes]] = {
    "an archive that unpacks to far more": deflated,
    "bytes of any length": lambda: archive_of(called("builtins", "bytearray")),
    "bytes of any length in an old file": lambda: OLD + called("builtins", "bytearray"),
    "a tensor of any length": lambda: archive_of(called("torch", "Tensor")),
    "a place far behind": lambda: archive_of(b"\x80\x02K\x01r" + struct.pack("<I", 1 << 30) + b"."),
    "a text beyond the end": lambda: archive_of(b"\x80\x02X" + struct.pack("<I", INT) + b"abc."),
    "pairs of pairs for a key": lambda: archive_of(b"\x80\x02" + PAIRS + b"}h\x28K\x01s."),
    "pairs of pairs in an old file": lambda: OLD + b"\x80\x02" + PAIRS + b"}h\x28K\x01s.",
    "deep tuples": lambda: archive_of(b"\x80\x02K\x01" + b"\x85" * 20_000 + b"."),
}


@pytest.mark.parametrize("what", WEIGHTS)
def test_forged_weights_are_refused(tmp_path: Path, what: str) -> None:
    path = tmp_path / "state.pth"
    path.write_bytes(WEIGHTS[what]())
    assert_refused(lambda: reads_weights(path), path)


def test_an_array_file_that_unpacks_to_far_more_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "vocabulary.npz"
    np.savez_compressed(path, centroids=np.zeros((18 << 10, 1 << 10), np.float32))
    assert_refused(lambda: read_vocabulary(path), path)


FAR = b"r" + struct.pack("<I", 1 << 28)  # LONG_BINPUT
PICKLES = {
    "a place far behind": b"\x80\x02K\x01" + FAR + b".",
    "a place far behind, as text": b"I1\np268435456\n.",
    "a place of 30 digits": b"I1\np" + b"9" * 30 + b"\n.",
    "bytes beyond the end": b"\x80\x03B" + struct.pack("<I", INT) + b"abc.",
    "long bytes beyond the end": b"\x80\x04\x8e" + struct.pack("<Q", 1 << 33) + b"abc.",
    "a byte array beyond the end": b"\x80\x05\x96" + struct.pack("<Q", 1 << 31) + b"abc.",
    "a text beyond the end": b"\x80\x04\x8d" + struct.pack("<Q", 1 << 33) + b"abc.",
    "a frame beyond the end": b"\x80\x04\x95" + struct.pack("<Q", 1 << 33) + b"K\x01.",
    "a number beyond the end": b"\x80\x02\x8b" + struct.pack("<i", INT) + b"abc.",
    "deep tuples of other text": b"\x80\x02U\x01\xff" + b"\x85" * 20_000 + b".",
}


def remembered(deep: int) -> bytes:
    """Lists of the list before, twice."""
    parts = [b"]q\x00"]
    for at in range(deep):
        last, number = bytes([at]), bytes([at + 1])
        parts.append(b"]q" + number + b"(h" + last + b"h" + last + b"e")
    return b"".join(parts)


PICKLES |= {
    "pairs of pairs": b"\x80\x02" + PAIRS + b".",
    "pairs of pairs for a key": b"\x80\x02}" + PAIRS + b"K\x01s.",
    "pairs of pairs in a set": b"\x80\x04\x8f(" + PAIRS + b"\x90.",
    "pairs of pairs in a frozen set": b"\x80\x04(" + PAIRS + b"\x91.",
    "lists of lists": b"\x80\x02" + remembered(40) + b".",
    "one key of many pairs, often": b"\x80\x02}"
    + b"K\x01"
    + b"2\x86" * 20
    + b"q\x000"
    + b"h\x00K\x01s" * 1000
    + b".",
}


@pytest.mark.parametrize("what", PICKLES)
def test_a_pickle_that_asks_for_memory_is_refused(tmp_path: Path, what: str) -> None:
    path = tmp_path / "nn_a.pkl"
    path.write_bytes(PICKLES[what])
    assert_refused(lambda: read_pickle(path, NUMPY_ARRAYS), path)
    assert_refused(lambda: read_neighbors(path, ["q"], ["a", "b"]), path)
    path = tmp_path / "objects.npy"
    np.save(path, np.array([None], object))
    path.write_bytes(path.read_bytes()[: -len(pickle.dumps(None))] + PICKLES[what])
    assert_refused(lambda: read_npy(path), path)


def test_what_is_shared_a_million_times_is_read_once(tmp_path: Path) -> None:
    path = tmp_path / "gnd.pkl"
    path.write_bytes(b"\x80\x02U\x01\xff" + b"2\x86" * 20 + b".")  # pairs of the pair before
    assert_refused(lambda: kinds.read_truth(path), path)


@pytest.mark.parametrize("of", ["lists", "tuples"])
def test_what_is_shared_within_bounds_comes_back(tmp_path: Path, of: str) -> None:
    path, inner = tmp_path / "a.pkl", list(range(1000)) if of == "lists" else tuple(range(1000))
    path.write_bytes(pickle.dumps([inner] * 1000, 4))
    found: Any = read_pickle(path)
    assert found == [inner] * 1000 and found[0] is found[999]


def test_lists_that_are_filled_after_they_were_put_in_are_refused(tmp_path: Path) -> None:
    parts = b"".join(b"]q" + bytes([at]) + b"0" for at in range(41))
    filled = [b"h" + bytes([at]) + b"(" + (b"h" + bytes([at + 1])) * 2 + b"e0" for at in range(40)]
    lists = parts + b"".join(filled) + b"h\x00"
    path = tmp_path / "gnd.pkl"
    query = b"}(X\x02\0\0\0ok" + lists + b"X\x04\0\0\0junk]u"
    path.write_bytes(b"\x80\x02}X\x03\0\0\0gnd](" + query + b"es.")
    assert_refused(lambda: kinds.read_truth(path), path)


def test_lists_that_repeat_a_number_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "nn_a.pkl"
    path.write_bytes(pickle.dumps(torch.zeros(1, 1, 1).expand(2, 1, 10**12), 4))
    assert_refused(lambda: read_neighbors(path, ["q"], ["a", "b"]), path)


def test_a_row_beyond_all_numbers_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "gnd.pkl"
    path.write_bytes(pickle.dumps({"gnd": [{"ok": [10**30], "junk": []}] * 2}, 2))
    assert_refused(lambda: kinds.read_truth(path), path)


def test_a_pipe_is_no_image(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.jpg")
    assert "a pipe" in assert_refused(lambda: load_image(tmp_path / "a.jpg"), tmp_path / "a.jpg")


def test_a_list_with_a_name_that_no_file_has_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "gallery.txt"
    path.write_bytes(b"a.jpg\nb\0.jpg\n")
    assert "line 2" in assert_refused(lambda: read_image_list(path), path)


@pytest.mark.slow
def test_folders_too_deep_to_walk_are_refused(tmp_path: Path) -> None:
    with chdir(tmp_path):
        for _ in range(1200):
            os.mkdir("x")
            os.chdir("x")
    with pytest.raises(BadInput, match="cannot be read"):
        walk_images(tmp_path, lambda name: True)
    subprocess.run(["rm", "-r", tmp_path / "x"], check=True)  # pytest's own removal is too deep


def test_links_in_circles_are_followed_once(tmp_path: Path) -> None:
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "a" / "b" / "x.jpg").touch()
    for link, target in (("up", tmp_path), ("self", "self"), ("there", "back"), ("back", "there")):
        os.symlink(target, tmp_path / "a" / link)
    found = walk_images(tmp_path, lambda name: name.endswith(".jpg"))
    assert [name for name, _ in found.files] == ["a/b/x.jpg"]
    assert any("leading nowhere" in note for note in found.notes)
