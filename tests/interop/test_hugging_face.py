"""A dataset of `datasets` becomes a custom dataset: the same pictures, labels and sides."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from ames_lite.datasets.custom.truth import CustomOptions, make_custom
from ames_lite.errors import BadInput, MissingFile
from ames_lite.interop.hugging_face import write_dataset
from ames_lite.io.images import load_image
from tests.interop.pictures import picture

datasets = pytest.importorskip("datasets")


def pillow(seeds: list[int]) -> list[Image.Image]:
    return [Image.fromarray(picture(seed)) for seed in seeds]


def a_dataset(seeds: list[int], labels: list[str]) -> Any:
    features = datasets.Features(
        {"image": datasets.Image(), "label": datasets.ClassLabel(names=["church", "tower"])}
    )
    return datasets.Dataset.from_dict({"image": pillow(seeds), "label": labels}, features)


def rows(path: Path) -> list[list[str]]:
    return list(csv.reader(path.open(encoding="utf-8")))


def test_labelled_images_are_queries_and_gallery(tmp_path: Path) -> None:
    made = a_dataset([0, 1, 1, 2], ["church", "tower", "tower", "church"])
    table = write_dataset(made, tmp_path / "photos")
    header, *found = rows(table)
    assert header == ["file", "label"]
    assert [text for _, text in found] == ["church", "tower", "tower", "church"]
    for (name, _), seed in zip(found, [0, 1, 1, 2], strict=True):
        assert np.array_equal(load_image(table.parent / name), picture(seed))
    truth = make_custom(CustomOptions(table.parent, str(table))).truth
    assert len(truth.query_names) == len(truth.gallery_names) == 4
    assert truth.gallery_names[int(truth.easy[0][-1])] == found[3][0]


def test_splits_are_the_sides(tmp_path: Path) -> None:
    query, gallery = a_dataset([0], ["tower"]), a_dataset([1, 0], ["tower", "church"])
    made = datasets.DatasetDict({"query": query, "gallery": gallery})
    table = write_dataset(made, tmp_path / "photos")
    truth = make_custom(CustomOptions(table.parent, str(table))).truth
    assert truth.query_names == ("query/000000.png",) and len(truth.gallery_names) == 2
    assert truth.easy[0].tolist() == [0]


def test_pairs_are_pairs_of_files_and_an_image_is_one_file(tmp_path: Path) -> None:
    columns = {"query": pillow([0, 0]), "gallery": pillow([1, 2]), "label": [1, 0]}
    made = datasets.Dataset.from_dict(columns)
    for side in ("query", "gallery"):
        made = made.cast_column(side, datasets.Image())
    table = write_dataset(made, tmp_path / "photos")
    (_, first, second), found = rows(table), sorted(table.parent.glob("*.png"))
    assert len(found) == 3 and first[0] == second[0] and [first[2], second[2]] == ["1", "0"]
    assert np.array_equal(load_image(table.parent / first[1]), picture(1))
    truth = make_custom(CustomOptions(table.parent, str(table))).truth
    assert truth.gallery_names[int(truth.easy[0][0])] == first[1]


def test_files_of_the_dataset_are_copied_byte_for_byte(tmp_path: Path) -> None:
    source = tmp_path / "a.jpg"
    pillow([0])[0].save(source)
    made = datasets.Dataset.from_dict({"photo": [str(source)], "id": ["x"]})
    table = write_dataset(made, tmp_path / "photos", image="photo", label="id")
    (copied,) = table.parent.glob("*.jpg")
    assert copied.read_bytes() == source.read_bytes() and rows(table)[1] == ["000000.jpg", "x"]
    with pytest.raises(BadInput, match="exists already"):
        write_dataset(made, tmp_path / "photos", image="photo", label="id")


def test_what_is_missing_is_named(tmp_path: Path) -> None:
    fine = a_dataset([0], ["tower"])
    lost = datasets.Dataset.from_dict({"image": [str(tmp_path / "none.jpg")], "label": ["x"]})
    empty = datasets.Dataset.from_dict({"image": pillow([0]) + [None], "label": ["x", "y"]})
    unknown = datasets.Dataset.from_dict({"image": pillow([0, 1]), "label": ["x", None]})
    for wrong, said in (
        (fine.rename_column("image", "img"), "columns are img, label"),
        (datasets.DatasetDict({"train": fine, "test": fine}), "splits train, test"),
        (lost, "none.jpg"),
        (empty.cast_column("image", datasets.Image()), "image, row 1"),
        (unknown.cast_column("image", datasets.Image()), "row 1 has no label"),
    ):
        with pytest.raises((BadInput, MissingFile), match=said):
            write_dataset(wrong, tmp_path / said)
        assert not (tmp_path / said / "labels.csv").exists()
