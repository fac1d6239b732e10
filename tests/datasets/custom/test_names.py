"""Names in labels and lists: however a path is written, it means the image that it leads to."""

from __future__ import annotations

import unicodedata
from pathlib import Path

import pytest

from ames_lite.datasets.custom.truth import CustomOptions, make_custom
from ames_lite.datasets.image_lists import ImageList, write_image_list
from ames_lite.datasets.relation import Relation
from ames_lite.errors import BadInput
from tests.helpers import touch


def make(tmp_path: Path, *names: str, labels: str = "x", **more: Path) -> Relation:
    """A truth of images p/a/v0.jpg, ... in which the names have one label."""
    path = tmp_path / "labels.csv"
    path.write_text("file,label\n" + "".join(f'"{name}",{labels}\n' for name in names))
    return make_custom(CustomOptions(tmp_path / "p", str(path), **more))


@pytest.fixture
def images(tmp_path: Path) -> Path:
    return touch(tmp_path / "p", ["a/v0.jpg", "b/v1.jpg", " c.jpg"])


@pytest.mark.parametrize(
    "written",
    ["./a/v0.jpg", "a//v0.jpg", "b/../a/v0.jpg", "a\\v0.jpg", " a/v0.jpg ", "../p/a/v0.jpg"],
)
def test_a_path_means_the_image_that_it_leads_to(
    written: str, images: Path, tmp_path: Path
) -> None:
    made = make(tmp_path, written, "b/v1.jpg", " c.jpg")
    assert set(made.truth.gallery_names) == {"a/v0.jpg", "b/v1.jpg", " c.jpg"}
    assert f"1 name is written otherwise than the images, first '{written}'" in made.notes[0]


def test_absolute_paths_mean_images_inside_alone(images: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(images)
    made = make(tmp_path, str(images / "a/v0.jpg"), str(tmp_path / "link" / "b/v1.jpg"))
    assert made.truth.gallery_names == ("a/v0.jpg", "b/v1.jpg")
    for outside in (str(tmp_path / "v0.jpg"), "../v0.jpg", "C:\\p\\v0.jpg"):
        with pytest.raises(BadInput, match=r"(?s)lies outside.*labels\.csv, line 3"):
            make(tmp_path, "a/v0.jpg", outside)


def test_two_spellings_of_one_image_are_the_same_image(images: Path, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"'a/v0.jpg' is listed twice.*here '\./a/v0.jpg'"):
        make(tmp_path, "a/v0.jpg", "./a/v0.jpg")


def test_an_absent_name_is_explained(images: Path, tmp_path: Path) -> None:
    touch(images, [".h/v.jpg"])
    (images / "dead.jpg").symlink_to("nothing")
    for name, why in ((".h/v.jpg", "dot"), ("dead.jpg", "nowhere"), ("A/V0.JPG", "'a/v0.jpg'")):
        with pytest.raises(BadInput, match=rf"absent, first '{name}' \(.*{why}"):
            make(tmp_path, "a/v0.jpg", name)


def test_unicode_forms_are_matched_and_said(images: Path, tmp_path: Path) -> None:
    touch(images, [unicodedata.normalize("NFD", "é.jpg")])
    made = make(tmp_path, unicodedata.normalize("NFC", "é.jpg"), "a/v0.jpg")
    assert "another Unicode form" in made.notes[0]


def test_lists_take_the_same_spellings(images: Path, tmp_path: Path) -> None:
    queries = write_image_list(tmp_path / "q.txt", ImageList(("./a/v0.jpg",)))
    made = make(tmp_path, "a/v0.jpg", "b/v1.jpg", queries=queries)
    assert made.truth.query_names == ("a/v0.jpg",)


def test_labels_that_differ_in_capitals_stay_two_and_are_named(tmp_path: Path) -> None:
    images = touch(tmp_path / "p", ["Church/0.jpg", "Church/1.jpg", "church/2.jpg"])
    made = make_custom(CustomOptions(images, "folders"))
    assert len(made.truth.query_names) == 2
    assert "labels that differ in capitals alone are not the same" in made.notes[0]


def test_what_was_left_out_is_said_where_nothing_is_left(tmp_path: Path) -> None:
    images = touch(tmp_path / "p", ["a/0.jpg", "a/.1.jpg"])
    with pytest.raises(BadInput, match="has a positive.*1 hidden image is left out: a/.1.jpg"):
        make_custom(CustomOptions(images, "folders"))
