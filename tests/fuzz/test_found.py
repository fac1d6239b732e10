"""What damaged files have done once, each as small as it can be made."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from PIL import features

from ames_lite.datasets.vpr import db_struct
from ames_lite.errors import UserError
from ames_lite.io.json_file import DIGEST, json_bytes, read_json_file, write_json_file
from ames_lite.stores.global_store import GlobalStore
from tests.evaluation.results_toy import make_results
from tests.fuzz.kinds import Kind, every_kind
from tests.hostile import assert_refused

KINDS = {kind.name: kind for kind in every_kind()}


def written(folder: Path, name: str) -> tuple[Kind, Path]:
    kind = KINDS[name]
    kind.write(kind.path(folder))
    return kind, kind.path(folder)


def refused(kind: Kind, path: Path, message: str | None = None) -> None:
    with pytest.raises(UserError, match=message):
        kind.read(path)


@pytest.mark.parametrize("content", [b"lr: \xff", b"lr: \0", b"a: b: c", b"'", b"- 1", b"%%"])
def test_settings_that_are_no_yaml(tmp_path: Path, content: bytes) -> None:
    kind, path = written(tmp_path, "mine.yaml")
    path.write_bytes(content)
    refused(kind, path)


@pytest.mark.parametrize("key", ["1e999", "3", "true", "null", "[1, 2]", "2026-01-01"])
@pytest.mark.parametrize("line", ["model:\n  {}:\n    dim: 64", "model:\n  {}: 64", "{}: 3"])
def test_settings_whose_key_is_no_text(tmp_path: Path, key: str, line: str) -> None:
    kind, path = written(tmp_path, "mine.yaml")
    path.write_text("# @package _global_\n" + line.format(key) + "\n")
    refused(kind, path)


@pytest.mark.skipif(not features.check("avif"), reason="Pillow is without AVIF")
def test_an_avif_whose_data_are_gone(tmp_path: Path) -> None:
    kind, path = written(tmp_path, "rgb.avif")
    whole = path.read_bytes()
    path.write_bytes(whole[: whole.index(b"mdat") + 4] + bytes(200))
    refused(kind, path, "cannot be decoded")


@pytest.mark.parametrize("cut", [4, 100, -1])
def test_a_transformers_folder_whose_weights_are_cut(tmp_path: Path, cut: int) -> None:
    kind, path = written(tmp_path, "model.safetensors")
    path.write_bytes(path.read_bytes()[:cut])
    refused(kind, path, "does not load")


def test_a_transformers_folder_whose_config_has_a_field_of_another_type(tmp_path: Path) -> None:
    kind, path = written(tmp_path, "backbone's config.json")
    path.write_text(json.dumps(json.loads(path.read_text()) | {"attention_dropout": "x"}))
    refused(kind, path, "does not load")


@pytest.mark.parametrize("size", [10**5, 2**31 - 1, 2**63 - 1])
def test_a_config_of_more_numbers_than_the_weights_asks_for_nothing(
    tmp_path: Path, size: int
) -> None:
    kind, path = written(tmp_path, "backbone's config.json")
    path.write_text(json.dumps(json.loads(path.read_text()) | {"num_channels": size}))
    assert "does not load" in assert_refused(lambda: kind.read(path), tmp_path)


def test_letters_that_there_are_not(tmp_path: Path) -> None:
    kind, path = written(tmp_path, "msls_val: msls_val_qImages.npy")
    np.save(path, np.full(3, 2**31 - 1, np.uint32).view("U1"))
    refused(kind, path, "letters")


def test_poses_so_far_away_that_no_distance_can_be_told(tmp_path: Path) -> None:
    kind, path = written(tmp_path, "hawkins: pose_topic_list.npy")
    poses = np.load(path)
    poses[3] = 1e300
    np.save(path, poses)
    refused(kind, path, "pose 3 is not finite metres")


def test_coordinates_so_far_away(tmp_path: Path) -> None:
    kind, path = written(tmp_path, "positions.csv")
    rows = [row.split(",")[0] for row in path.read_text().splitlines()[1:]]
    path.write_text("\n".join(["file,x,y", *(f"{name},{i}e300,1" for i, name in enumerate(rows))]))
    refused(kind, path, "beyond the earth")


@pytest.mark.parametrize(
    "code, said", [("import os; os.abort()", "crashed"), ("1 / 0", "division")]
)
def test_a_matlab_file_that_brings_its_reader_down(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: str, said: str
) -> None:
    kind, path = written(tmp_path, "oxford_file: oxdatapart.mat")
    monkeypatch.setattr(db_struct, "READ_MATLAB", code)
    refused(kind, path, said)


ODD: dict[str, Callable[[dict[str, Any]], object]] = {
    "a name": lambda read: read["per_query"][1].update(name=True),
    "a list for a name": lambda read: read["per_query"][1].update(name=[[]]),
    "a text for a number": lambda read: read["per_query"][1].update(global_ap="x"),
    "a list of metrics": lambda read: read.update({"global": {"map": []}}),
    "a number of a row": lambda read: read["rows"][0].update(lamb=None),
    "a digest": lambda read: read.update(digests={"weights": []}),
}


@pytest.mark.parametrize("what", ODD)
def test_results_with_values_of_other_types(tmp_path: Path, what: str) -> None:
    kind, path = written(tmp_path, "results.json")
    results = make_results()
    ODD[what](results)
    path.write_bytes(json_bytes(results))
    refused(kind, path, "of a wrong type")


def test_a_digest_under_a_changed_key(tmp_path: Path) -> None:
    path = write_json_file(tmp_path / "a.json", {"a": 1})
    path.write_text(path.read_text().replace(DIGEST, "content_sha257"))
    with pytest.raises(UserError, match="was changed after it was written"):
        read_json_file(path, "plans")
    path.write_text('{"a": "x"}')
    assert read_json_file(path, "plans") == {"a": "x"}


def test_globals_that_no_longer_say_what_failed(tmp_path: Path) -> None:
    _, path = written(tmp_path, "vectors.hdf5")
    with h5py.File(path, "r+") as file:
        del file["status"]
    with pytest.raises(UserError, match="status"):
        GlobalStore(path)


@pytest.mark.parametrize("place, value", [(5, [[]]), (4, "1"), (5, 2**63), (5, -1), (2, None)])
def test_an_index_whose_entries_are_of_other_types(
    tmp_path: Path, place: int, value: object
) -> None:
    kind, path = written(tmp_path, "folder's index.json")
    record = json.loads(path.read_text())
    del record[DIGEST]
    record["entries"][1][place] = value
    path.write_bytes(json_bytes(record))
    refused(kind, path, "the index cannot be read: an entry is")


@pytest.mark.parametrize(
    "key, value",
    [
        *(("vocabulary", value) for value in ([[]], 3, None, "../x", "\0", "a" * 7 + "/")),
        *(("images", 3), ("backbone", []), ("backbone", "x"), ("scanned_ns", "1")),
    ],
)
@pytest.mark.parametrize("name", ["folder's index.json", "pending.json"])
def test_an_index_whose_head_is_of_other_types(
    tmp_path: Path, name: str, key: str, value: object
) -> None:
    kind, path = written(tmp_path, name)
    record = json.loads(path.read_text()) | {key: value}
    del record[DIGEST]
    path.write_bytes(json_bytes(record))
    refused(kind, path, f"the index cannot be read: '{key}' is")


def test_a_description_with_unknown_keys(tmp_path: Path) -> None:
    kind, path = written(tmp_path, "dataset.json")
    path.write_text(path.read_text().replace(DIGEST, "content").replace("category", "vpr"))
    refused(kind, path, "cannot be read: schema 1 with")


def test_a_listed_name_that_is_too_long_for_any_file(tmp_path: Path) -> None:
    kind, path = written(tmp_path, "ilias: positive_ids.txt")
    path.write_text("lamp/" + "x" * 5000)
    refused(kind, path, "absent")
