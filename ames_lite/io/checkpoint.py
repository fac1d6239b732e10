"""Heads on disk: native weights with readable JSON beside them, and published `.pt` files.

A native head is a folder with `weights.safetensors` and `meta.json`, or any `<name>.safetensors`
with `<name>.json` beside it; the JSON has `schema`, `model` (in HEADS), `arguments` of its
constructor, the fields of `HeadMeta` and `weights_sha256`, which tells when the two files do not
belong together. Loading is strict. Weights are float32 once loaded, on the CPU, in eval mode.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor

from ames_lite import errors
from ames_lite.errors import BadInput, ConfigError, MissingFile, explained, require
from ames_lite.io.digest import file_digest
from ames_lite.io.json_file import json_bytes, read_json_file, write_json_file
from ames_lite.io.provenance import check_trained_on
from ames_lite.io.weights_file import State, fill_network, load_weights
from ames_lite.io.writing import replacing
from ames_lite.models import HEADS, SimilarityHead, build_head
from ames_lite.models.published import PUBLISHED_HEADS, TUNED_ON, of_its_form

Arguments = dict[str, Any]  # of a head's constructor
SCHEMA = 1
EXPECTED = "a folder with weights.safetensors and meta.json, <name>.safetensors or a published .pt"
LEARNT = ("calibration", "cascade")  # by tuning
PUBLISHED = 'a checkpoint {"state": {name: tensor}, "optim": ..., "epoch": ...}'


@dataclass(frozen=True)
class HeadMeta:
    """What a head is used with; None where unknown."""

    desc_name: str | None = None  # the descriptors that it was trained on
    lamb: float | None = None  # λ, weight of the global similarity, in [0, 1]
    temp: float | None = None  # γ, factor of the logit, above 0
    provenance: dict[str, Any] = field(default_factory=dict)  # what it was trained from, for JSON
    calibration: dict[str, Any] | None = None  # what makes probabilities of its scores, with λ, γ
    cascade: dict[str, Any] | None = None  # which candidates of a cheaper head it need not score

    def __post_init__(self) -> None:
        fits = {
            "desc_name": (isinstance(self.desc_name, str | None), "text, or null"),
            "lamb": (_lies(self.lamb, 0.0, 1.0), "a number in [0, 1], or null"),
            "temp": (_lies(self.temp, 1e-9, 1e9), "a number above 0, or null"),
            "provenance": (isinstance(self.provenance, dict), "a dict"),
            "calibration": (isinstance(self.calibration, dict | None), "a dict, or null"),
            "cascade": (isinstance(self.cascade, dict | None), "a dict, or null"),
        }
        errors.check_fields(self, fits)

    def check_descriptors(self, head: str | Path, made: Mapping[str, Any], store: object) -> None:
        """BadInput for descriptors (provenance: made) other than those it was trained on."""
        trained_on = self.provenance.get("descriptors")
        check_trained_on(trained_on, made, files=(f"the head {head}", str(store)))


def _lies(value: Any, low: float, high: float) -> bool:
    return value is None or (isinstance(value, int | float) and low <= value <= high)


def save_head(
    path: str | Path, model: SimilarityHead, meta: HeadMeta, *, half: bool = False
) -> Path:
    """Write a head into the folder `path`, or to the file `path` if it ends in `.safetensors`;
    returns the path of the weights. half: they are stored in float16.
    """
    dtype = torch.float16 if half else torch.float32
    state = {k: v.detach().to("cpu", dtype).contiguous() for k, v in model.state_dict().items()}
    name = next(name for name, head in HEADS.items() if type(model) is head)
    record = {"schema": SCHEMA, "model": name, "arguments": model.arguments, **_as_json(meta)}
    return write_native(path, state, record)


def write_native(path: str | Path, state: State, record: dict[str, Any]) -> Path:
    """Write contiguous tensors of the CPU and their JSON; returns the path of the weights."""
    weights, meta_file = _native_files(path)
    with replacing(weights, True) as new_weights, replacing(meta_file, True) as new_meta:
        # save_file makes files that only their owner can read
        new_weights.write_bytes(save(dict(state)))
        record = {**record, "weights_sha256": file_digest(new_weights)}
        new_meta.write_bytes(json_bytes(record, 2))
        weights.unlink(missing_ok=True)  # never beside a meta of others; put in place last
    return weights


def save_meta(path: str | Path, meta: HeadMeta) -> Path:
    """Give the native head at `path` another meta, its weights unchanged; returns its path."""
    _, record = read_native(path)
    kept = {key: value for key, value in record.items() if key not in LEARNT}
    return write_json_file(_native_files(path)[1], kept | _as_json(meta), indent=2)


def _as_json(meta: HeadMeta) -> dict[str, Any]:
    """What was not learnt has no key: readers of older files know none."""
    return {k: v for k, v in asdict(meta).items() if k not in LEARNT or v is not None}


def is_native(path: str | Path) -> bool:
    """Whether there is a head with a meta.json of its own, not a published `.pt`."""
    return _native_files(path)[1].is_file()


def load_head(path: str | Path, **arguments: Any) -> tuple[SimilarityHead, HeadMeta]:
    """A head and its meta, from a native folder or file or a published `.pt`.

    arguments: of the constructor, in place of those of the file, also for what shapes do not tell
    (num_heads of a published file). A file with name and form of a published head has its λ and γ;
    they become the model's `ensemble`. MissingFile, or BadInput that names path and parameter.
    """
    path, meta = Path(path).expanduser(), None
    what, where = "there is no head here", path.absolute()
    require(path.exists(), what, where=where, expected=EXPECTED, kind=MissingFile)
    if path.is_file() and path.suffix != ".safetensors":
        state = _read_published(path)
        name, known = _recognise(state, path)
    else:
        state, record = read_native(path)
        name, known, meta = _unpack(record, _native_files(path)[1])
        _refuse_other_sizes(name, known, state, _native_files(path)[1])
    try:
        with torch.device("meta"):  # no memory, and no random numbers drawn
            model = build_head(name, **{**known, **arguments})
    except ConfigError as error:
        raise ConfigError(str(error), where=path) from error
    expected = f"exactly the parameters of {type(model).__name__} with {model.arguments}"
    fill_network(model, state, path, expected)
    meta = _published_meta(path.stem, model) if meta is None else meta
    if meta.lamb is not None and meta.temp is not None:
        model.ensemble = (meta.lamb, meta.temp)
    return model, meta


def _published_meta(name: str, model: SimilarityHead) -> HeadMeta:
    """What is known of a published file of that name, if it has the form of that head."""
    if of_its_form(model.arguments) != name:
        return HeadMeta()
    head, made = PUBLISHED_HEADS[name], {"tuned_on": TUNED_ON, "ensemble": f"published for {name}"}
    return HeadMeta(lamb=head.lamb, temp=head.temp, provenance=made)


def _native_files(path: str | Path) -> tuple[Path, Path]:
    path = Path(path).expanduser()
    if path.suffix != ".safetensors":
        return path / "weights.safetensors", path / "meta.json"
    meta = "meta.json" if path.name == "weights.safetensors" else f"{path.stem}.json"
    return path, path.with_name(meta)


def read_native(
    path: str | Path, what: str = "a head", expected: str = EXPECTED
) -> tuple[dict[str, Tensor], Any]:
    """Tensors and JSON that `write_native` wrote. Raises MissingFile, BadInput."""
    weights, meta_file = _native_files(path)
    for file in (weights, meta_file):
        errors.existing_file(file, f"a file of {what} is missing", expected=expected)
    record = read_json_file(meta_file, f"{what}'s meta")
    expected = "a whole safetensors file"
    with explained(kinds=SafetensorError, where=weights, expected=expected):
        state = load_file(weights)
    digest = record.get("weights_sha256") if isinstance(record, dict) else None
    fits, expected = digest in (None, file_digest(weights)), f"sha256 {digest}"
    what = f"{weights.name} is not the file that {meta_file.name} was written with"
    remedy = f"save {what} again; or, if you changed it knowingly, drop weights_sha256"
    require(fits, what, where=weights, expected=expected, remedy=remedy)
    return state, record


def _unpack(record: Any, path: Path) -> tuple[str, Arguments, HeadMeta]:
    schema = record.get("schema") if isinstance(record, dict) else None
    what, expected = f"schema is {schema!r}", f"a head's meta, {SCHEMA}"
    require(schema == SCHEMA, what, where=path, expected=expected)
    fields = set(HeadMeta.__dataclass_fields__)
    needed = {"schema", "model", "arguments", *fields} - {*LEARNT}
    known = needed | {*LEARNT, "weights_sha256"}
    wrong = sorted(needed - set(record)) + sorted(set(record) - known)
    kinds = {"model": str, "arguments": dict}
    wrong = wrong or [key for key, kind in kinds.items() if not isinstance(record[key], kind)]
    what = f"in the meta of a head are missing, unknown or of a wrong type: {', '.join(wrong)}"
    require(not wrong, what, where=path, expected=f"the keys {', '.join(sorted(known))}")
    with explained(where=path):
        meta = HeadMeta(**{key: record[key] for key in fields & set(record)})
    return record["model"], record["arguments"], meta


def _refuse_other_sizes(name: str, arguments: Arguments, state: State, path: Path) -> None:
    if name not in HEADS or HEADS[name].marker is None:
        return
    with explained(where=path.parent):
        told = HEADS[name].arguments_from_state(state)
    for key, value in told.items():
        given, expected = arguments.get(key, value), "the meta that was written with the weights"
        what = f"{key} is {given!r}, the weights have {value!r}"
        require(given == value, what, where=path, expected=expected)


def _read_published(path: Path) -> dict[str, Tensor]:
    content = load_weights(path, PUBLISHED)
    came, state = type(content).__name__, None
    if isinstance(content, dict):
        came, state = str(sorted(map(str, content))), content.get("state")
    fits = isinstance(state, dict) and not set(content) - {"state", "optim", "epoch"}
    require(fits, f"the file holds {came}", where=path, expected=PUBLISHED)
    for name, value in content["state"].items():
        what, fits = f"parameter {name!r} is {type(value).__name__}", isinstance(value, Tensor)
        fits, expected = fits and isinstance(name, str), "a tensor under a text name"
        require(fits, what, where=path, expected=expected)
    return dict(content["state"])


def _recognise(state: State, path: Path) -> tuple[str, Arguments]:
    """The head that a published state is of, and the arguments that its shapes tell."""
    markers = {name: head.marker for name, head in HEADS.items() if head.marker is not None}
    for name, marker in markers.items():
        if marker in state:
            with explained(where=path):
                return name, HEADS[name].arguments_from_state(state)
    known = ", ".join(f"{marker} ({name})" for name, marker in markers.items())
    raise BadInput("the state is of no known head", where=path, expected=f"a parameter {known}")
