"""What counts as an image of a folder: nothing hidden, every linked folder once, no loop."""

from __future__ import annotations

from pathlib import Path

import pytest

from ames_lite.datasets.vpr.folders import natural_names, sorted_names
from ames_lite.errors import BadInput, MissingFile
from ames_lite.io.images import list_folder, list_images
from ames_lite.io.walking import names_of, real_folders
from ames_lite.search.index import scan_images
from tests.helpers import touch

HIDDEN = (
    *(".x.jpg", "a/._v0.jpg", ".ipynb_checkpoints/v0.jpg", "a/.thumbnails/v0.jpg"),
    *("__MACOSX/a/v0.jpg", "a/@eaDir/v0.jpg/SYNO.jpg", "#recycle/v.png", "$RECYCLE.BIN/v.jpg"),
    *("lost+found/v.jpg", "a/b/c/.git/d/e/v.jpg"),
)
SEEN = ("@0001@2@.jpg", "a/v0.jpg", "a/v1.PNG", "b.c/v.x.jpg", "thumbnails/v0.jpg")


def test_hidden_files_are_left_out_and_counted(tmp_path: Path) -> None:
    root = touch(tmp_path / ".data" / "pics", [*SEEN, *HIDDEN, "Thumbs.db", ".git/HEAD"])
    names, notes = list_folder(root)  # below a hidden folder itself
    assert names == sorted(SEEN) and len(notes) == 1
    assert notes[0].startswith(f"{len(HIDDEN)} hidden images are left out: ")
    found, same_notes = scan_images(root)
    assert [file.name for file in found] == names and same_notes == notes
    assert sorted_names(tmp_path, ".data/pics") == [f".data/pics/{name}" for name in names]


def test_a_hidden_file_shifts_no_row_of_a_numbered_folder(tmp_path: Path) -> None:
    touch(tmp_path / "s", ["2.jpg", "10.jpg", "._2.jpg", "@eaDir/1.jpg"])
    assert natural_names(tmp_path, "s") == ["s/2.jpg", "s/10.jpg"]


def test_every_linked_folder_counts_once(tmp_path: Path) -> None:
    elsewhere = touch(tmp_path / "elsewhere", ["b/v0.jpg", "b/v1.jpg"])
    root = touch(tmp_path / "p", ["a/v0.jpg", "m/.store/x.jpg"])
    for name, target in {
        "b": elsewhere / "b",  # followed
        "c": elsewhere / "b",  # the same a second time
        "0": root / "a",  # before a by name, but a is its own
        "a/loop": root,
        "a/up": tmp_path,
        "k": root / "m" / ".store",  # hidden under its own name, not under this one
    }.items():
        (root / name).symlink_to(target)
    names, notes = list_folder(root)
    assert names == ["a/v0.jpg", "b/v0.jpg", "b/v1.jpg", "k/x.jpg"]
    (again,) = [note for note in notes if "not followed" in note]
    assert again.startswith("4 linked folders") and "c (b)" in again and "0 (a)" in again
    assert [file.name for file in scan_images(root)[0]] == names


def test_links_that_lead_nowhere_are_named(tmp_path: Path) -> None:
    root = touch(tmp_path / "p", ["v.jpg"])
    (root / "gone.jpg").symlink_to("nothing.jpg")
    (root / "self").symlink_to("self")
    assert list_folder(root)[1] == ("2 links are left out, leading nowhere: gone.jpg, self",)


def test_a_link_to_a_listed_image_counts_once_and_links_to_a_store_count_each(
    tmp_path: Path,
) -> None:
    root = touch(tmp_path / "p", ["a/v.jpg", ".git/objects/1.jpg"])
    (root / "a" / "0.jpg").symlink_to("v.jpg")
    for name in ("x.jpg", "y.jpg"):
        (root / name).symlink_to(".git/objects/1.jpg")
    names, notes = list_folder(root)
    assert names == ["a/v.jpg", "x.jpg", "y.jpg"]
    assert "1 linked image is left out, listed already: a/0.jpg (a/v.jpg)" in notes


def test_a_file_has_its_name_by_whatever_path_it_is_reached(tmp_path: Path) -> None:
    elsewhere = touch(tmp_path / "elsewhere", ["b/v0.jpg"])
    root = touch(tmp_path / "p", ["v1.jpg"])
    (root / "b").symlink_to(elsewhere / "b")
    (tmp_path / "link").symlink_to(root)
    folders = real_folders(root, list_images(root))
    assert "b/v0.jpg" in names_of(elsewhere / "b" / "v0.jpg", folders)
    assert "v1.jpg" in names_of(tmp_path / "link" / "v1.jpg", folders)
    assert names_of(tmp_path / "other" / "v1.jpg", folders) == []


def test_what_is_no_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(MissingFile, match="missing"):
        list_folder(tmp_path / "none")
    with pytest.raises(BadInput, match="a file is given"):
        list_folder(touch(tmp_path, ["v.jpg"]) / "v.jpg")
