import os
from pathlib import Path

import numpy as np
import pytest

from ames_lite.datasets.image_lists import ImageList, read_image_list, write_image_list
from ames_lite.errors import BadInput, MissingFile
from ames_lite.io.names import match_names
from tests.helpers import shared_file


def write(path: Path, text: str) -> Path:
    path.write_bytes(text.encode())
    return path


def test_width_stands_before_height_in_the_file_and_after_it_in_sizes(tmp_path: Path) -> None:
    images = read_image_list(write(tmp_path / "l.txt", "jpg/a.jpg,3,640,480\njpg/b.jpg,-1,10,20"))
    assert images.names == ("jpg/a.jpg", "jpg/b.jpg") and len(images) == 2
    assert images.labels is not None and images.labels.tolist() == [3, -1]
    assert images.sizes is not None and images.sizes.tolist() == [[480, 640], [20, 10]]


@pytest.mark.parametrize("end", ["", "\n", "\r\n"])
@pytest.mark.parametrize("start", ["", "\ufeff"])
def test_ends_and_starts_of_the_file_do_not_matter(tmp_path: Path, end: str, start: str) -> None:
    newline = end or "\n"
    images = read_image_list(write(tmp_path / "l.txt", f"{start}a.jpg,1{newline}b.jpg,2{end}"))
    assert images.names == ("a.jpg", "b.jpg")
    assert images.labels is not None and images.labels.tolist() == [1, 2]
    assert images.sizes is None


@pytest.mark.parametrize(
    "images",
    [
        ImageList(("a.jpg", "x,y.jpg", 'quo"te.jpg', '"both", really', "ü b#.jpg", "@1@.jpg")),
        ImageList(("a", "b,c"), np.array([5, -(10**17)])),
        ImageList(("a", "b"), np.array([0, 1]), np.array([[480, 640], [1, 2]])),
    ],
)
def test_a_written_list_comes_back(tmp_path: Path, images: ImageList) -> None:
    came = read_image_list(write_image_list(tmp_path / "l.txt", images))
    assert came.names == images.names
    for got, wanted in ((came.labels, images.labels), (came.sizes, images.sizes)):
        assert (got is None) == (wanted is None)
        np.testing.assert_array_equal(np.array(got), np.array(wanted))
    assert [path.name for path in tmp_path.iterdir()] == ["l.txt"]


def test_columns_after_the_fourth_are_ignored_and_said_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    plain = read_image_list(write(tmp_path / "plain.txt", "a,1,5,7\nb,2,6,8\n"))
    caplog.set_level("INFO")
    path = write(tmp_path / "l.txt", "a,1,5,7,x,9\nb,2,6,8,\n")
    for _ in range(2):
        wide = read_image_list(path)
        assert wide.names == plain.names and wide.sizes is not None and plain.sizes is not None
        assert np.array_equal(wide.labels, plain.labels)  # type: ignore[arg-type]
        assert np.array_equal(wide.sizes, plain.sizes)
    assert [r.getMessage() for r in caplog.records] == [
        f"{path}: columns after the fourth are ignored"
    ]


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        ("a,1\n\nb,2\n", 2, "without a path"),
        ("a,1\n ,2\n", 2, "without a path"),
        ("a,1\nb,2\n\n", 3, "without a path"),
        ("a,1\nb,2\na,3", 3, "listed twice, first in"),
        ("a,1\nb", 2, "1 fields"),
        ("a,1,2", 1, "3 fields"),
        ("a,1,2,x,4", 1, "height 'x' is no integer"),
        ("a,1,2,3,4\nb,1", 2, "2 fields"),
        ("a,1\nb,1,2,3", 2, "4 fields"),
        ("a,1\nb,x", 2, "label 'x' is no integer"),
        ("a,1.0", 1, "label '1.0'"),
        ("a, 1", 1, "label ' 1'"),
        ("a,1_0", 1, "label '1_0'"),
        ("a,1,0,5", 1, "width is 0"),
        ("a,1,5,-5", 1, "height is -5"),
        ("x,y.jpg", 1, "label 'y.jpg'"),
        ('a\n"b', 2, "not a text list"),
    ],
)
def test_a_bad_line_is_named_with_its_number(
    tmp_path: Path, text: str, line: int, words: str
) -> None:
    path = write(tmp_path / "l.txt", text)
    with pytest.raises(BadInput) as caught:
        read_image_list(path)
    assert words in str(caught.value) and "l.txt, " in str(caught.value)
    assert f"line {line}" in str(caught.value)


def test_empty_missing_and_binary_lists_are_named(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"empty(.|\n)*l\.txt"):
        read_image_list(write(tmp_path / "l.txt", ""))
    with pytest.raises(MissingFile, match=r"absent\.txt"):
        read_image_list(tmp_path / "absent.txt")
    (tmp_path / "b.txt").write_bytes(b"\xff\xd8\xff\xe0 jpeg")
    with pytest.raises(BadInput, match=r"b\.txt"):
        read_image_list(tmp_path / "b.txt")


@pytest.mark.parametrize(
    "wrong",
    [
        {"names": ("a", "a")},
        {"names": ("a", "")},
        {"names": ("a", "b"), "labels": np.array([1])},
        {"names": ("a",), "labels": np.array([1.5])},
        {"names": ("a",), "sizes": np.array([[1, 2]])},
        {"names": ("a",), "labels": np.array([1]), "sizes": np.array([[0, 2]])},
    ],
)
def test_an_image_list_refuses_to_be_wrong(wrong: dict[str, object]) -> None:
    with pytest.raises(BadInput):
        ImageList(**wrong)  # type: ignore[arg-type]


def test_an_image_list_is_frozen() -> None:
    labels = np.array([1, 2])
    images = ImageList(("a", "b"), labels)
    labels[0] = 7
    assert images.labels is not None and images.labels.tolist() == [1, 2]
    with pytest.raises(ValueError, match="read-only"):
        images.labels[0] = 7


def test_names_match_by_their_end_with_or_without_extension() -> None:
    available = ["jpg/a/x.jpg", "jpg/b/x.jpg", "jpg/y.v2.png", "z.jpg", "z"]
    wanted = ["a/x", "b/x.jpg", "y.v2", "jpg/y.v2", "z", "z.jpg"]
    rows = [match_names([name], available).tolist()[0] for name in wanted]
    assert rows == [0, 1, 2, 2, 4, 3]


def test_the_same_name_may_be_wanted_twice() -> None:
    assert match_names(["b", "a", "b"], ["a.jpg", "b.jpg"]).tolist() == [1, 0, 1]
    assert match_names([], ["a.jpg"]).tolist() == []


@pytest.mark.parametrize(
    ("wanted", "available", "words"),
    [
        (["x"], ["a/x.jpg", "b/x.jpg"], "'x' fits 'a/x.jpg' and 'b/x.jpg'"),
        (["x"], ["x.jpg", "x.png"], "'x' fits"),
        (["a", "q", "r"], ["a.jpg"], "2 of 3 names fit no image: 'q', 'r'"),
        (["q"], [], "the list is empty"),
        (["x", "x.jpg"], ["jpg/x.jpg"], "'x' and 'x.jpg' both fit 'jpg/x.jpg'"),
        (["ll_souls"], ["jpg/all_souls.jpg"], "fit no image"),
    ],
)
def test_ambiguous_and_absent_names_are_refused(
    wanted: list[str], available: list[str], words: str
) -> None:
    with pytest.raises(BadInput) as caught:
        match_names(wanted, available, wanted_from="left.pkl", available_from="right.txt")
    assert words in str(caught.value)
    assert "left.pkl against right.txt" in str(caught.value)


def test_the_official_lists_are_read() -> None:
    queries = read_image_list(shared_file("ground_truth/roxford5k_test_query.txt"))
    gallery = read_image_list(shared_file("ground_truth/roxford5k_test_gallery.txt"))
    assert (len(queries), len(gallery)) == (70, 4993)
    assert gallery.names[0] == "jpg/ashmolean_000283.jpg"
    assert gallery.sizes is not None and gallery.sizes[0].tolist() == [768, 1024]
    assert match_names(["all_souls_000013"], queries.names).tolist() == [0]


def test_a_name_that_is_not_utf8_is_refused_and_nothing_is_left(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"not UTF-8: 'bad\\udcff.jpg'"):
        write_image_list(tmp_path / "a.txt", ImageList(("good.jpg", os.fsdecode(b"bad\xff.jpg"))))
    assert list(tmp_path.iterdir()) == []
