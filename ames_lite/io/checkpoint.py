"""Heads on disk: native weights with readable JSON beside them, and published `.pt` files.

Sole owner of safetensors. A native head is a folder with `weights.safetensors` and `meta.json`, or
any `<name>.safetensors` with `<name>.json` beside it. Loading is strict; every parameter must be
there, of the right shape and finite, and nothing else may be. Weights may be stored in half
precision; they are float32 once loaded, on the CPU, in eval mode.

meta.json: {"schema": 1, "model": name in HEADS, "arguments": {constructor arguments}, "desc_name",
"lamb", "temp", "provenance": {...}, "weights_sha256"}, and "calibration" where tuning
fitted one (`reranking/calibration.py`). The digest tells when the two files of a
head do not belong together (a save was cut off between them). A published `.pt` has no meta; λ and
γ of the four AMES heads are known by its name (`models/published.py`).
"""

from __future__ import annotations

import hashlib
import json
import struct
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor

from ames_lite.errors import BadInput, ConfigError, MissingFile
from ames_lite.io.json_file import read_json_file
from ames_lite.io.provenance import check_trained_on
from ames_lite.io.writing import replacing
from ames_lite.models import HEADS, SimilarityHead, build_head
from ames_lite.models.published import PUBLISHED_HEADS, TUNED_ON, of_its_form

SCHEMA = 1
EXPECTED = "a folder with weights.safetensors and meta.json, <name>.safetensors or a published .pt"
# What torch.load makes of cut, damaged and foreign files (found by feeding it thousands of them).
UNREADABLE: tuple[type[Exception], ...] = (
    *(UnpicklingError, RuntimeError, OSError, EOFError, ValueError, LookupError),
    *(AssertionError, struct.error, TypeError, AttributeError, MemoryError, ArithmeticError),
)


@dataclass(frozen=True)
class HeadMeta:
    """What a head is used with; None where unknown.

    desc_name   the descriptors that it was trained on
    lamb, temp  weight of the global similarity, in [0, 1], and factor of the logit, above 0
    provenance  what it was trained from; anything that JSON holds
    calibration what turns its scores, with these λ and γ, into probabilities
    """

    desc_name: str | None = None
    lamb: float | None = None
    temp: float | None = None
    provenance: dict[str, Any] = field(default_factory=dict)
    calibration: dict[str, Any] | None = None

    def __post_init__(self) -> None:
        def number(value: Any, low: float, high: float) -> bool:
            return value is None or (isinstance(value, int | float) and low <= value <= high)

        fits = {
            "desc_name": isinstance(self.desc_name, str | None),
            "lamb": number(self.lamb, 0.0, 1.0),
            "temp": number(self.temp, 1e-9, 1e9),
            "provenance": isinstance(self.provenance, dict),
            "calibration": isinstance(self.calibration, dict | None),
        }
        for name, fit in fits.items():
            if not fit:
                what = f"{name} of a head is {getattr(self, name)!r}"
                expected = (
                    "desc_name text, lamb in [0, 1], temp above 0 (or null), provenance a dict, "
                    "calibration a dict (or null)"
                )
                raise BadInput(what, expected=expected)

    def check_descriptors(self, head: str | Path, made: Mapping[str, Any], store: object) -> None:
        """Raise BadInput for descriptors made otherwise than those that it was trained on.

        head, store: where it and they are, for the message; made: their provenance.
        """
        trained_on = self.provenance.get("descriptors")
        check_trained_on(trained_on, made, files=(f"the head {head}", str(store)))


def save_head(
    path: str | Path, model: SimilarityHead, meta: HeadMeta, *, half: bool = False
) -> Path:
    """Write a head into the folder `path`, or to the file `path` if it ends in `.safetensors`.

    half: store the weights in float16. Each file is written under a temporary name and renamed,
    once both are whole; raises BadInput where there is no room. Returns the path of the weights.
    """
    weights, meta_file = _native_files(Path(path).expanduser())
    dtype = torch.float16 if half else torch.float32
    state = {k: v.detach().to("cpu", dtype).contiguous() for k, v in model.state_dict().items()}
    name = next(name for name, head in HEADS.items() if type(model) is head)
    record = {"schema": SCHEMA, "model": name, "arguments": model.arguments, **_as_json(meta)}
    with (
        replacing(weights, overwrite=True) as new_weights,
        replacing(meta_file, overwrite=True) as new_meta,
    ):
        new_weights.write_bytes(save(state))  # save_file makes files that only their owner can read
        record["weights_sha256"] = file_sha256(new_weights)
        text = json.dumps(record, indent=2, ensure_ascii=False, allow_nan=False)
        new_meta.write_text(text + "\n", encoding="utf-8")
    return weights


def _as_json(meta: HeadMeta) -> dict[str, Any]:
    """Without a calibration there is no such key: readers of older files know none."""
    content = asdict(meta)
    if meta.calibration is None:
        del content["calibration"]
    return content


def is_native(path: str | Path) -> bool:
    """Whether there is a head with a meta.json of its own, not a published `.pt`."""
    return _native_files(Path(path).expanduser())[1].is_file()


def save_meta(path: str | Path, meta: HeadMeta) -> Path:
    """Give the native head at `path` another meta; its weights stay as they are.

    Raises MissingFile or BadInput as `load_head` does. Returns the path of the meta.
    """
    weights, meta_file = _native_files(Path(path).expanduser())
    _, record = _read_native(weights)
    record = {k: v for k, v in record.items() if k != "calibration"} | _as_json(meta)
    with replacing(meta_file, overwrite=True) as new_meta:
        text = json.dumps(record, indent=2, ensure_ascii=False, allow_nan=False)
        new_meta.write_text(text + "\n", encoding="utf-8")
    return meta_file


def load_head(path: str | Path, **arguments: Any) -> tuple[SimilarityHead, HeadMeta]:
    """A head and its meta, from a native folder or file or a published `.pt`.

    arguments: constructor arguments that replace those of the file, for flags and for what shapes
    do not tell (num_heads of a published file). A published state is never unpickled beyond
    tensors and plain containers; its meta has λ and γ where file name and form are those of a
    published head. Where the meta has both, they are the model's `ensemble` too. Raises
    MissingFile, or BadInput that names path and parameter.
    """
    path = Path(path).expanduser()
    if not path.exists():
        raise MissingFile("there is no head here", where=path.absolute(), expected=EXPECTED)
    if path.is_file() and path.suffix != ".safetensors":
        state = _read_published(path)
        name, known = _recognise(state, path)
        meta = None
    else:
        state, record = _read_native(path)
        name, known, meta = _unpack(record, _native_files(path)[1])
    try:
        with torch.device("meta"):  # no memory, and no random numbers drawn
            model = build_head(name, **{**known, **arguments})
    except ConfigError as error:
        raise ConfigError(str(error), where=path) from error
    _check_state(state, model, path)
    # A copy: tensors of one file may share memory.
    model.load_state_dict(
        {k: v.to(torch.float32, copy=True) for k, v in state.items()}, assign=True
    )
    meta = _published_meta(path.stem, model) if meta is None else meta
    if meta.lamb is not None and meta.temp is not None:
        model.ensemble = (meta.lamb, meta.temp)
    return model.eval(), meta


def _published_meta(name: str, model: SimilarityHead) -> HeadMeta:
    """What is known of a published file of that name, if it has the form of that head."""
    if of_its_form(model.arguments) != name:
        return HeadMeta()
    head, said = PUBLISHED_HEADS[name], f"published for {name}"
    provenance = {"tuned_on": TUNED_ON, "ensemble": said}
    return HeadMeta(lamb=head.lamb, temp=head.temp, provenance=provenance)


def file_sha256(path: Path) -> str:
    """The SHA-256 of a file, as hex digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _native_files(path: Path) -> tuple[Path, Path]:
    """The paths of weights and meta."""
    if path.suffix != ".safetensors":
        return path / "weights.safetensors", path / "meta.json"
    meta = "meta.json" if path.name == "weights.safetensors" else f"{path.stem}.json"
    return path, path.with_name(meta)


def _read_native(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    weights, meta_file = _native_files(path)
    for file in (weights, meta_file):
        if not file.is_file():
            raise MissingFile("a file of a head is missing", where=file, expected=EXPECTED)
    record = read_json_file(meta_file, "a head's meta")
    try:
        state = load_file(weights)
    except SafetensorError as error:
        raise BadInput(f"{error}", where=weights, expected="a whole safetensors file") from error
    digest = record.get("weights_sha256") if isinstance(record, dict) else None
    if digest is not None and digest != file_sha256(weights):
        raise BadInput(
            f"{weights.name} is not the file that {meta_file.name} was written with",
            where=weights,
            expected=f"sha256 {digest}",
            remedy="save the head again; or, if you changed it knowingly, drop weights_sha256",
        )
    return state, record


def _unpack(record: Any, path: Path) -> tuple[str, dict[str, Any], HeadMeta]:
    """Name, arguments and meta from the JSON of a native head."""
    schema = record.get("schema") if isinstance(record, dict) else None
    if schema != SCHEMA:
        raise BadInput(f"schema is {schema!r}", where=path, expected=f"a head's meta, {SCHEMA}")
    known = {"schema", "model", "arguments", "weights_sha256", *HeadMeta.__dataclass_fields__}
    optional = {"weights_sha256", "calibration"}
    wrong = sorted(known - optional - set(record)) + sorted(set(record) - known)
    kinds = {"model": str, "arguments": dict}
    wrong = wrong or [key for key, kind in kinds.items() if not isinstance(record[key], kind)]
    if wrong:
        what = (
            f"the meta of a head lacks, should not have or has of a wrong type {', '.join(wrong)}"
        )
        raise BadInput(what, where=path, expected=f"the keys {', '.join(sorted(known))}")
    try:
        meta = HeadMeta(**{k: record[k] for k in HeadMeta.__dataclass_fields__ if k in record})
    except BadInput as error:
        raise BadInput(str(error), where=path) from error
    return record["model"], record["arguments"], meta


def _read_published(path: Path) -> dict[str, Tensor]:
    """The state of a published checkpoint {"state", "optim", "epoch"}."""
    expected = 'a checkpoint {"state": {name: tensor}, "optim": ..., "epoch": ...}'
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except UNREADABLE as error:
        first = str(error).strip().split("\n")[0]
        what = f"cannot be read as weights alone: {type(error).__name__}: {first}"
        raise BadInput(what, where=path, expected=expected) from error
    surplus = set(content) - {"state", "optim", "epoch"} if isinstance(content, dict) else {"?"}
    state = content.get("state") if isinstance(content, dict) else None
    if surplus or not isinstance(state, dict):
        came = sorted(map(str, content)) if isinstance(content, dict) else type(content).__name__
        raise BadInput(f"the file holds {came}", where=path, expected=expected)
    for name, value in state.items():
        if not isinstance(name, str) or not isinstance(value, Tensor):
            what = f"parameter {name!r} is {type(value).__name__}"
            raise BadInput(what, where=path, expected="a tensor under a text name")
    return state


def _recognise(state: Mapping[str, Tensor], path: Path) -> tuple[str, dict[str, Any]]:
    """The head that a published state is of, and the arguments that its shapes tell."""
    markers = {name: head.marker for name, head in HEADS.items() if head.marker is not None}
    for name, marker in markers.items():
        if marker in state:
            try:
                return name, HEADS[name].arguments_from_state(state)
            except BadInput as error:
                raise BadInput(str(error), where=path) from error
    known = ", ".join(f"{marker} ({name})" for name, marker in markers.items())
    raise BadInput("the state is of no known head", where=path, expected=f"a parameter {known}")


def _check_state(state: Mapping[str, Tensor], model: SimilarityHead, path: Path) -> None:
    """Raises BadInput that lists what is missing, surplus, misshapen or not finite."""
    wanted = {name: list(value.shape) for name, value in model.state_dict().items()}
    faults = [f"{name} is missing" for name in wanted if name not in state]
    for name, value in state.items():
        if name not in wanted:
            faults.append(f"{name} is surplus")
        elif list(value.shape) != wanted[name]:
            faults.append(f"{name} has shape {list(value.shape)} instead of {wanted[name]}")
        elif not value.is_floating_point():
            faults.append(f"{name} is {value.dtype}")
        elif not value.isfinite().all():
            faults.append(f"{name} has NaN or infinity")
    if faults:
        more = f" and {len(faults) - 8} more" if len(faults) > 8 else ""
        expected = f"exactly the parameters of {type(model).__name__} with {model.arguments}"
        raise BadInput("; ".join(faults[:8]) + more, where=path, expected=expected)
