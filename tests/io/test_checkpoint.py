"""Heads survive the disk, and nothing but a whole head is loaded."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from ames_lite.errors import BadInput, ConfigError, MissingFile
from ames_lite.io.checkpoint import HeadMeta, load_head, save_head
from ames_lite.models import AMES
from tests.models.seeded import FORMS, biggest_difference, descriptors, seeded_head

META = HeadMeta("dinov2", lamb=0.5, temp=0.2, provenance={"trained_on": "ein Bild, größer als 0"})
PAIR = (descriptors(1, 2, 5, 48), None, descriptors(2, 2, 6, 48))


def small(**arguments: Any) -> AMES:
    return seeded_head(3, num_layers=2, dim_feedforward=32, **arguments)


def published(path: Path, head: AMES, **changes: Any) -> Path:
    content = {"state": head.state_dict(), "optim": {"lr": [5e-4]}, "epoch": 9, **changes}
    torch.save({k: v for k, v in content.items() if v is not None}, path)
    return path


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("where", ["folder", "folder/head.safetensors", "weights.safetensors"])
@torch.no_grad()
def test_native_round_trip_is_exact(form: str, where: str, tmp_path: Path) -> None:
    head = small(**FORMS[form], round_gallery_fp16=False)
    weights = save_head(tmp_path / where, head, META)
    assert weights.suffix == ".safetensors" and weights.is_file()
    for path in (tmp_path / where, str(weights)):
        again, meta = load_head(path)
        assert meta == META and not again.training
        assert again.arguments == head.arguments
        assert torch.equal(again(*PAIR), head(*PAIR))
        assert all(p.requires_grad for p in again.parameters())
    assert len(list(weights.parent.iterdir())) == 2  # nothing temporary stays


def test_meta_is_readable_json(tmp_path: Path) -> None:
    save_head(tmp_path, small(), META)
    text = (tmp_path / "meta.json").read_text(encoding="utf-8")
    record = json.loads(text)
    assert "größer" in text and "\n  " in text
    assert record["schema"] == 1 and record["model"] == "ames"
    assert record["arguments"]["dim_in"] == 48
    assert (record["desc_name"], record["lamb"], record["temp"]) == ("dinov2", 0.5, 0.2)


def test_a_head_may_be_read_by_whom_other_new_files_may_be_read(tmp_path: Path) -> None:
    plain = tmp_path / "plain"
    plain.touch()
    weights = save_head(tmp_path / "head", small(), META)
    for path in (weights, weights.with_name("meta.json")):
        assert path.stat().st_mode == plain.stat().st_mode


@torch.no_grad()
def test_half_precision_weights_are_cast_to_float32(tmp_path: Path) -> None:
    head = small()
    sizes = [save_head(tmp_path / str(h), head, META, half=h).stat().st_size for h in (True, False)]
    assert sizes[0] < 0.6 * sizes[1]
    again, _ = load_head(tmp_path / "True")
    assert all(p.dtype == torch.float32 for p in again.parameters())
    assert biggest_difference(again(*PAIR), head(*PAIR)) < 1e-2


@pytest.mark.parametrize("form", FORMS)
@torch.no_grad()
def test_published_file_tells_its_architecture(form: str, tmp_path: Path) -> None:
    head = small(**FORMS[form])
    again, meta = load_head(published(tmp_path / "head.pt", head))
    assert again.arguments == head.arguments and meta == HeadMeta()
    assert torch.equal(again(*PAIR), head(*PAIR))
    bare = load_head(published(tmp_path / "bare.pt", head, optim=None, epoch=None))[0]
    assert torch.equal(bare(*PAIR), head(*PAIR))


def test_arguments_replace_those_of_the_file(tmp_path: Path) -> None:
    path = published(tmp_path / "head.pt", small())
    again, _ = load_head(path, num_heads=4, normalize_input=False)
    assert again.arguments["num_heads"] == 4 and not again.arguments["normalize_input"]
    with pytest.raises(BadInput, match=r"(?s)remap_local.0.weight \[128, 48\].*head.pt"):
        load_head(path, dim_in=64)
    with pytest.raises(ConfigError, match="(?s)num_layer.*num_layers.*head.pt"):
        load_head(path, num_layer=2)


def test_loading_draws_no_random_numbers(tmp_path: Path) -> None:
    path = save_head(tmp_path, small(binary=True), META)
    before = torch.get_rng_state()
    load_head(path)
    assert torch.equal(before, torch.get_rng_state())


FAULTS = {
    "decoder.layers.1.norm3.bias": (None, "missing: decoder.layers.1.norm3.bias"),
    "mtc_token": (None, "no known head"),
    "remap_local.0.weight": (None, "remap_local.0.weight is missing"),
    "extra.weight": (torch.zeros(3), "unexpected: extra.weight"),
    "classifier.bias": (
        torch.zeros(2),
        r"classifier.bias \[2\] floats instead of \[1\] floats",
    ),
    "classifier.weight": (torch.full((1, 128), torch.nan), "NaN or infinite: classifier.weight"),
    "remap_local.1.bias": (torch.zeros(128).long(), r"remap_local.1.bias \[128\] integers instead"),
    "decoder.layers.3.norm1.bias": (
        torch.zeros(128),
        "unexpected: decoder.layers.3.norm1.bias",
    ),
}


@pytest.mark.parametrize("name", FAULTS)
def test_a_missing_surplus_or_misshapen_parameter_is_named(name: str, tmp_path: Path) -> None:
    value, message = FAULTS[name]
    state = dict(small().state_dict())
    state.pop(name, None)
    if value is not None:
        state[name] = value
    path = published(tmp_path / "head.pt", small(), state=state)
    with pytest.raises(BadInput, match=f"(?s){message}.*head.pt"):
        load_head(path)


def test_native_weights_of_another_architecture_are_refused(tmp_path: Path) -> None:
    save_head(tmp_path, small(), META)
    record = json.loads((tmp_path / "meta.json").read_text())
    record["arguments"]["num_layers"] = 3
    del record["content_sha256"]
    (tmp_path / "meta.json").write_text(json.dumps(record))
    with pytest.raises(BadInput, match="num_layers is 3, the weights have 2"):
        load_head(tmp_path)


def test_surplus_content_of_a_published_file_is_refused(tmp_path: Path) -> None:
    path = published(tmp_path / "head.pt", small(), teacher={})
    with pytest.raises(BadInput, match="(?s)teacher.*head.pt.*state"):
        load_head(path)
    with pytest.raises(BadInput, match="(?s)the file holds.*head.pt"):
        load_head(published(tmp_path / "head.pt", small(), state=None))
    with pytest.raises(BadInput, match="mtc_token' is int"):
        load_head(published(tmp_path / "head.pt", small(), state={"mtc_token": 3}))


class Payload:
    """Would write a file, were it unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return Path.touch, (self.path,)


def test_a_pickle_with_code_is_refused_and_not_run(tmp_path: Path) -> None:
    trace = tmp_path / "trace"
    path = published(tmp_path / "head.pt", small(), optim=Payload(trace))
    with pytest.raises(BadInput, match="(?s)weights alone.*head.pt"):
        load_head(path)
    assert not trace.exists()


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
@pytest.mark.parametrize("legacy", [False, True])
def test_a_cut_or_damaged_published_file_is_bad_input(legacy: bool, tmp_path: Path) -> None:
    path = tmp_path / "head.pt"
    content = {"state": small().state_dict()}
    torch.save(content, path, _use_new_zipfile_serialization=not legacy)
    whole = path.read_bytes()
    generator = torch.Generator().manual_seed(0)
    cuts = [0, 1, 17, len(whole) // 2, len(whole) - 1]
    damaged = [whole[:cut] for cut in cuts] + [b"no head at all\n" * 9]
    for _ in range(30):
        copy, at = bytearray(whole), torch.randint(600, (2,), generator=generator)
        copy[int(at[0])] ^= 0x5A
        copy[int(at[1])] ^= 0xFF
        damaged.append(bytes(copy))
    refused = 0
    for data in damaged:
        path.write_bytes(data)
        try:
            load_head(path)
        except BadInput as error:
            assert str(path) in str(error)
            refused += 1
    assert refused > len(cuts)


def test_damaged_native_files_are_named(tmp_path: Path) -> None:
    weights, meta = save_head(tmp_path, small(), META), tmp_path / "meta.json"
    data, text = weights.read_bytes(), meta.read_text(encoding="utf-8")
    weights.write_bytes(data[: len(data) // 2])
    with pytest.raises(BadInput, match="(?s)weights.safetensors.*expected"):
        load_head(tmp_path)
    flipped = data[:-1] + bytes([data[-1] ^ 1])
    weights.write_bytes(flipped)
    with pytest.raises(BadInput, match="(?s)not the file that meta.json.*sha256"):
        load_head(tmp_path)
    weights.write_bytes(data)
    record = json.loads(text)
    del record["content_sha256"]
    faults: dict[str, tuple[str, type[ValueError]]] = {
        "{": ("not JSON", BadInput),
        "[]": ("schema is None", BadInput),
        json.dumps({**record, "schema": 2}): ("schema is 2", BadInput),
        json.dumps({**record, "lambda": 0.3}): ("lambda", BadInput),
        json.dumps({k: v for k, v in record.items() if k != "temp"}): ("temp", BadInput),
        json.dumps({**record, "lamb": 1.5}): ("lamb is 1.5", BadInput),
        json.dumps({**record, "model": "amex"}): ("no head 'amex'", ConfigError),
        json.dumps({**record, "arguments": {"dimin": 3}}): ("no argument 'dimin'", ConfigError),
        json.dumps({**record, "arguments": []}): ("arguments", BadInput),
        json.dumps({**record, "model": ["ames"]}): ("model", BadInput),
    }
    for content, (message, kind) in faults.items():
        meta.write_text(content, encoding="utf-8")
        with pytest.raises(kind, match=message) as caught:
            load_head(tmp_path)
        assert str(tmp_path) in str(caught.value)


def test_what_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(MissingFile, match="(?s)nowhere.*expected"):
        load_head(tmp_path / "nowhere")
    with pytest.raises(FileNotFoundError, match="weights.safetensors"):
        load_head(tmp_path)
    save_head(tmp_path, small(), META)
    (tmp_path / "meta.json").unlink()
    with pytest.raises(MissingFile, match="meta.json"):
        load_head(tmp_path)


@pytest.mark.parametrize(
    "wrong", [{"lamb": -0.1}, {"temp": 0}, {"temp": float("nan")}, {"desc_name": 3}]
)
def test_impossible_meta_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(BadInput, match=next(iter(wrong))):
        HeadMeta(**wrong)


def test_a_save_that_fails_leaves_the_old_head(tmp_path: Path) -> None:
    save_head(tmp_path, small(), META)
    with pytest.raises(TypeError):
        save_head(tmp_path, small(binary=True), HeadMeta(provenance={"path": object()}))
    again, _ = load_head(tmp_path)
    assert not again.arguments["binary"]
    assert len(list(tmp_path.iterdir())) == 2
