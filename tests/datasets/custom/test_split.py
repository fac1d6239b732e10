"""Laws of the split by family: whole families, every kind on both sides, leave-one-out queries."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from ames_lite.datasets.custom.split import Instance, Split, choose_families, split_folders
from ames_lite.datasets.custom.truth import CustomOptions
from ames_lite.errors import BadInput, ConfigError, MissingFile
from tests.helpers import touch

KINDS = {  # instances of each family, by kind
    "place": {"stairs": 5, "lobby": 3, "hall": 1, "office": 1, "kitchen": 1},
    "object": {"toy": 1, "cup": 1},
    "product": {"grocery": 4},
}


def table(kinds: Mapping[str, Mapping[str, int]] = KINDS) -> dict[str, Instance]:
    return {
        f"{family}{number}": Instance(family, kind)
        for kind, families in kinds.items()
        for family, count in families.items()
        for number in range(count)
    }


def a_pool(root: Path, photos: int = 4) -> CustomOptions:
    """Empty image files in class folders, distractors beside them, and the table."""
    for place, name in enumerate(table()):
        touch(root / "pool" / name, [f"{number}.jpg" for number in range(1 + place % photos)])
    touch(root / "others", ["0.jpg", "below/1.jpg"])
    rows = [f"{name},{one.family},{one.kind}\n" for name, one in table().items()]
    (root / "pool.csv").write_text("instance,family,kind\n" + "".join(rows))
    return CustomOptions(
        root / "pool",
        "folders",
        families=root / "pool.csv",
        val_share=0.25,
        distractors=root / "others",
        seed=0,
        queries_per_label=3,
    )


def instance_of(name: str) -> str:
    return name.split("/")[1]


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("share", [0.01, 0.25, 0.5, 0.99])
def test_every_kind_of_several_families_is_on_both_sides(share: float, seed: int) -> None:
    held_out = choose_families(table().values(), share, seed)
    for kind, families in KINDS.items():
        taken = held_out & set(families)
        assert len(taken) < len(families), kind
        assert bool(taken) == (len(families) > 1), kind


def test_about_the_share_of_the_instances_is_held_out() -> None:
    sizes = {f"f{number}": 1 + number**2 % 13 for number in range(60)}
    for share in (0.1, 0.25, 0.4):
        held_out = choose_families(table({"": sizes}).values(), share, 0)
        held = sum(sizes[family] for family in held_out)
        assert abs(held - share * sum(sizes.values())) <= 1
        assert max(sizes[family] for family in held_out) > 1 / share  # and not small ones alone


def test_a_split_depends_on_the_seed_and_not_on_the_order_of_rows() -> None:
    rows = list(table({"": dict.fromkeys(map(str, range(20)), 2)}).values())
    splits = {choose_families(rows, 0.25, seed) for seed in range(5)}
    assert len(splits) > 1
    assert choose_families(rows[::-1], 0.25, 3) == choose_families(rows, 0.25, 3)


def test_families_are_whole_and_images_are_on_one_side(tmp_path: Path) -> None:
    made = split_folders(a_pool(tmp_path))
    gallery = [name for name in made.val.truth.gallery_names if name.startswith("pool/")]
    sides = [{instance_of(name) for name in names} for names in (made.train.names, gallery)]
    families = [{table()[name].family for name in side} for side in sides]
    assert not families[0] & families[1] and families[1] == made.held_out
    assert sides[0] | sides[1] == set(table())
    on_disk = [path.relative_to(tmp_path).as_posix() for path in tmp_path.glob("pool/*/*.jpg")]
    assert sorted([*made.train.names, *gallery]) == sorted(on_disk)
    assert made.train.labels is not None
    expected = [made.codes[instance_of(name)] for name in made.train.names]
    assert made.train.labels.tolist() == expected


def test_labels_are_the_same_on_both_sides_and_with_distractors_or_without(tmp_path: Path) -> None:
    options = a_pool(tmp_path)
    made = split_folders(options)
    alone = split_folders(replace(options, distractors=None))
    assert made.codes == alone.codes and made.val.codes is not None
    for name in made.val.truth.gallery_names:
        of_class = name.startswith("pool/")
        assert made.val.codes[name] == (made.codes[instance_of(name)] if of_class else 17)
    assert made.val.alone == 17 == len(made.codes)
    assert [f"pool/{name}" for name in alone.train.names] == list(made.train.names)
    rows = [*made.families(False), *made.families(True)]
    assert {row[2]: Instance(row[1], row[3]) for row in rows} == table()
    assert {row[2]: row[0] for row in rows} == made.codes


def right_names(made: Split) -> dict[str, set[str]]:
    truth = made.val.truth
    return {
        query: {truth.gallery_names[row] for row in rows}
        for query, rows in zip(truth.query_names, truth.easy, strict=True)
    }


def test_queries_leave_themselves_out_and_find_their_class_alone(tmp_path: Path) -> None:
    for most in (1, 3, 100):
        made = split_folders(replace(a_pool(tmp_path), queries_per_label=most))
        gallery = made.val.truth.gallery_names
        right = right_names(made)
        for query, names in right.items():
            members = {name for name in gallery if instance_of(name) == instance_of(query)}
            assert query in members and names == members - {query} and names
        for name in {instance_of(name) for name in gallery if name.startswith("pool/")}:
            photos = sum(instance_of(one) == name for one in gallery)
            queries = sum(instance_of(query) == name for query in right)
            assert queries == (min(most, photos) if photos > 1 else 0)
    assert {"others/0.jpg", "others/below/1.jpg"} <= set(gallery)


def test_a_table_of_a_spreadsheet_splits_alike(tmp_path: Path) -> None:
    options = a_pool(tmp_path)
    made = split_folders(options)
    rows = [f" {one.kind};x;{one.family} ;{name}\r\n" for name, one in table().items()]
    text = "\ufeffKIND;photos; Family;INSTANCE\r\n\r\n" + "".join(rows[::-1]) + "\r\n"
    (tmp_path / "pool.csv").write_text(text, encoding="utf-8", newline="")
    other = split_folders(options)
    assert other.train.names == made.train.names and right_names(other) == right_names(made)
    assert any("semicolons" in note for note in other.val.notes)
    assert "columns ignored: photos" in other.val.notes


def test_a_class_folder_of_distractors_needs_no_row(tmp_path: Path) -> None:
    options = a_pool(tmp_path)
    before = split_folders(options)
    touch(tmp_path / "pool" / "distractor", ["a.jpg"])
    made = split_folders(options)
    more = {*made.val.truth.gallery_names} - {*before.val.truth.gallery_names}
    assert more == {"pool/distractor/a.jpg"} and made.train.names == before.train.names
    assert right_names(made) == right_names(before)


def change(root: Path, old: str, new: str) -> None:
    path = root / "pool.csv"
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def test_tables_that_do_not_fit_the_folders_are_refused(tmp_path: Path) -> None:
    options = a_pool(tmp_path)
    (tmp_path / "pool" / "empty").mkdir()
    split_folders(options)  # a folder without images is no instance
    for number, (old, new, said) in enumerate(
        [
            ("instance,family", "name,family", "lacks instance(.|\n)*instance,family"),
            ("toy0,toy,object\n", "", r"1 class folders have no row: 'toy0'$"),
            ("toy0,", "toys,", "1 class folders have no row: 'toy0'; 1 rows have no folder"),
            ("toy0,toy", "empty,x,place\ntoy0,toy", "1 rows have no folder with images: 'empty'"),
            (
                "toy0,toy",
                "toy0,cup,object\ntoy0,toy",
                r"'toy0' is listed twice, first in .*line 13",
            ),
            ("toy0,toy,", "toy0, ,", "family is ''(.|\n)*line 13"),
            ("toy0,toy,", ",toy,", "instance is ''(.|\n)*line 13"),
            ("stairs3,stairs,place", "stairs3,stairs,object", "of kind 'place' and of kind"),
            ("toy0,toy,object", "toy0,toy", "a row has 2 cells, the header 3"),
        ]
    ):
        root = tmp_path / str(number)
        options = a_pool(root)
        touch(root / "pool" / "empty", [".hidden.jpg"])
        change(root, old, new)
        with pytest.raises(BadInput, match=said.replace("$", "\n")):
            split_folders(options)


def test_folders_that_cannot_be_split_are_refused(tmp_path: Path) -> None:
    options = a_pool(tmp_path)
    cases: list[tuple[CustomOptions, str]] = [
        (replace(options, families=tmp_path / "none.csv"), "missing: the families"),
        (replace(options, distractors=tmp_path / "none"), "an image folder is missing"),
        (replace(options, distractors=tmp_path / "pool"), "images= and distractors= holds"),
        (replace(options, distractors=tmp_path / "pool/toy0"), "images= and distractors= holds"),
    ]
    (tmp_path / "empty").mkdir()
    cases += [
        (replace(options, distractors=tmp_path / "empty"), "no image"),
        (replace(options, images=tmp_path / "empty"), "no image"),
    ]
    for given, said in cases:
        with pytest.raises((BadInput, MissingFile), match=said):
            split_folders(given)
    rows = [f"{name},one\n" for name in table()]
    (tmp_path / "pool.csv").write_text("instance,family\n" + "".join(rows))
    with pytest.raises(BadInput, match="no kind has two families: 17 instances"):
        split_folders(options)
    touch(tmp_path / "pool", ["loose.jpg"])
    with pytest.raises(BadInput, match=r"'loose\.jpg' is in no class folder"):
        split_folders(replace(options, distractors=None))


@pytest.mark.parametrize(
    "given",
    [
        {"labels": "frames"},
        {"labels": "l.csv"},
        {"kind": "labels"},
        {"families": None},
        {"val_share": 0.0},
        {"val_share": 1.0},
        {"val_share": float("nan")},
        {"queries_per_label": 0},
        {"seed": -1},
        {"radius": 3.0},
        {"tolerance": 0},
        {"queries": Path("q.txt")},
        {"gallery": Path("g.txt")},
        {"query_images": Path("q")},
    ],
)
def test_options_that_mean_nothing_to_a_split_are_refused(
    given: dict[str, object], tmp_path: Path
) -> None:
    options = replace(a_pool(tmp_path), **given)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="=") as caught:
        split_folders(options)
    assert "expected" in str(caught.value)
