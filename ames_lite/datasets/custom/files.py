"""The folder of a set of one's own: image lists, ground truth, and where they came from.

`dataset.json` is written last and says what the lists were made from, with digests, so that a later
run with the same labels goes on and one with changed labels is refused. Nothing that differs is
replaced unless the caller says so.
"""

from __future__ import annotations

import filecmp
import json
import os
import shutil
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from ames_lite.datasets.custom.images import find_images
from ames_lite.datasets.custom.split import SplitTruth
from ames_lite.datasets.custom.truth import WORDS, OwnTruth, OwnTruthOptions
from ames_lite.datasets.families import write_families
from ames_lite.datasets.ground_truth import write_ground_truth
from ames_lite.datasets.image_lists import ImageList, write_image_list
from ames_lite.datasets.layout import FAMILIES, PUBLISHED_LISTS
from ames_lite.errors import BadInput
from ames_lite.io.digest import file_digest, names_digest
from ames_lite.io.json_file import read_json_file
from ames_lite.io.overrides import paste, word
from ames_lite.io.writing import explain_write_errors

DESCRIPTION = "dataset.json"
SCHEMA = 1
BY_NAMES = ("folders", "frames", "pairs")  # kinds that depend on which images there are
PATHS = ("images", "query_images", "queries", "gallery", "families", "distractors")
OF_SPLIT = ("families", "distractors", "val_share", "seed", "queries_per_label")
PARTS = {"train": "-train", "val": "-val"}  # of a split set, by role: what follows its name


@dataclass(frozen=True)
class Description:
    """dataset.json: what a set of one's own is and what it was made from.

    image_root: the folder that names are relative to; options: what was given, paths absolute;
    digests: of the labels, the lists, and for some kinds of the images' names.
    """

    kind: str
    protocol: str
    role: str
    image_root: Path
    options: OwnTruthOptions
    digests: dict[str, str]


def write_own_truth(
    folder: Path,
    made: OwnTruth,
    options: OwnTruthOptions,
    protocol: str,
    role: str,
    overwrite: bool,
) -> Description:
    """Write gallery.txt, query.txt, gnd_<folder>.json and dataset.json.

    Raises BadInput where other lists are there already, unless overwrite.
    """
    options = _absolute(options)
    digests = source_digests(options, made.kind)
    description = Description(made.kind, protocol, role, made.root, options, digests)
    _write_set(folder, description, lambda into: _write_lists(into, folder.name, made), overwrite)
    return description


def write_split(
    root: Path,
    name: str,
    made: SplitTruth,
    options: OwnTruthOptions,
    protocol: str,
    overwrite: bool,
) -> tuple[Description, Description]:
    """Write the folders <name>-train (train.txt) and <name>-val (as a set of one's own).

    Both have a families.csv and a dataset.json. Raises BadInput where other lists are there
    already, unless overwrite.
    """
    options = _absolute(options)
    val = made.val
    digests = source_digests(options, val.kind)
    train_of, val_of = (
        Description(val.kind, protocol, role, val.root, options, digests) for role in PARTS
    )

    def write_train(into: Path) -> None:
        write_image_list(into / "train.txt", made.train)
        write_families(into / FAMILIES, made.families(held_out=False))

    def write_val(into: Path) -> None:
        _write_lists(into, f"{name}{PARTS['val']}", val)
        write_families(into / FAMILIES, made.families(held_out=True))

    _write_set(root / f"{name}{PARTS['train']}", train_of, write_train, overwrite)
    _write_set(root / f"{name}{PARTS['val']}", val_of, write_val, overwrite)
    return train_of, val_of


def _write_lists(into: Path, name: str, made: OwnTruth) -> None:
    """gallery.txt, query.txt and gnd_<name>.json."""
    truth = made.truth
    for side, names in (("gallery", truth.gallery_names), ("query", truth.query_names)):
        codes = None if made.codes is None else np.array([made.codes[n] for n in names])
        write_image_list(into / f"{side}.txt", ImageList(names, codes))
    write_ground_truth(into / f"gnd_{name}.json", truth)


def _write_set(
    folder: Path, description: Description, write: Callable[[Path], None], overwrite: bool
) -> None:
    """What `write` puts into a folder, and dataset.json: in place once all are written."""
    temporary = folder / f".prepare.{os.getpid()}"
    with explain_write_errors(folder):
        temporary.mkdir(parents=True, exist_ok=True)
        try:
            write(temporary)
            text = json.dumps(_to_json(description), indent=1, ensure_ascii=False)
            (temporary / DESCRIPTION).write_text(text + "\n", encoding="utf-8")
            _move(temporary, folder, overwrite)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)


def _move(temporary: Path, folder: Path, overwrite: bool) -> None:
    """All files into their places: the old mark goes first, the new one comes last."""
    new = sorted(temporary.iterdir(), key=lambda path: path.name == DESCRIPTION)
    native = {path.name for path in new}
    published = [
        name for side, names in PUBLISHED_LISTS.items() if f"{side}.txt" in native for name in names
    ]
    for name in (*published, f"gnd_{folder.name}.pkl"):
        if (folder / name).exists():
            what = "the published form of a list or of the ground truth is there"
            raise BadInput(what, where=folder / name, expected="one form", remedy="another name=")
    differing = [
        path.name
        for path in new
        if (folder / path.name).exists()
        and not filecmp.cmp(path, folder / path.name, shallow=False)
    ]
    if differing and not overwrite:
        raise BadInput(
            f"other lists are there already: {', '.join(differing)} would change",
            where=folder,
            expected="a new name=, or the lists that are there",
            remedy="overwrite=true replaces them; stores made from the old lists do not fit then",
        )
    (folder / DESCRIPTION).unlink(missing_ok=True)
    for path in new:
        os.replace(path, folder / path.name)


def source_digests(options: OwnTruthOptions, kind: str) -> dict[str, str]:
    """Digests of all that the lists of a kind depend on."""
    of_labels = options.labels if options.labels in WORDS else file_digest(options.labels)
    digests = {"labels": of_labels}
    for key in ("queries", "gallery", "families"):
        path = getattr(options, key)
        if path is not None:
            digests[key] = file_digest(path)
    if kind in BY_NAMES:
        images = find_images(options.images, options.query_images)
        digests["images"] = names_digest(images.all_names())
    if options.distractors is not None:
        digests["distractors"] = names_digest(find_images(options.distractors).all_names())
    return digests


def check_sources(folder: Path, description: Description, images: Path, labels: str) -> None:
    """Raise BadInput where images and labels are not those that the lists were made from."""
    given = _absolute(replace(description.options, images=images, labels=labels))
    found = source_digests(given, description.kind)
    known = description.digests
    changed = [key for key in sorted({*known, *found}) if known.get(key) != found.get(key)]
    if changed:
        key = changed[0]
        was, now = (digests.get(key, "none")[:12] for digests in (known, found))
        before = getattr(description.options, key)
        raise BadInput(
            f"the {key} changed since the lists were made: digest {was} ({before}) "
            f"against {now} ({getattr(given, key)})",
            where=folder / DESCRIPTION,
            expected="the same images and labels, or lists made from the new ones",
            remedy=f"{prepare_command(given, folder)} overwrite=true, then extract again",
        )


def prepare_command(options: OwnTruthOptions, folder: Path) -> str:
    """The command that makes the lists."""
    given = {key: value for key, value in asdict(options).items() if value is not None}
    name = folder.name
    if options.val_share is not None:
        end = next((end for end in PARTS.values() if name.endswith(end)), "")
        name = name.removesuffix(end)
    given |= {"name": name, "data_root": folder.parent}
    return paste("scripts/prepare_dataset.py", [word(key, value) for key, value in given.items()])


def read_description(folder: Path) -> Description | None:
    """dataset.json of a folder; None where there is none. Raises BadInput where it is damaged."""
    path = folder / DESCRIPTION
    if not path.is_file():
        return None
    expected = f"what prepare_dataset writes (schema {SCHEMA})"
    content = read_json_file(path, expected, "prepare the set again")
    try:
        if content["schema"] != SCHEMA:
            raise ValueError(f"schema {content['schema']}")
        given = dict(content["options"])
        given |= {key: Path(given[key]) for key in PATHS if given.get(key) is not None}
        return Description(
            **{key: str(content[key]) for key in ("kind", "protocol", "role")},
            image_root=Path(content["image_root"]),
            options=OwnTruthOptions(**given),
            digests={str(key): str(value) for key, value in content["digests"].items()},
        )
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise BadInput(
            f"the description of a set cannot be read: {error}",
            where=path,
            expected=expected,
            remedy="prepare the set again",
        ) from error


def _to_json(description: Description) -> Mapping[str, Any]:
    plain = {"schema": SCHEMA, **asdict(description)}
    plain["image_root"] = str(plain["image_root"])
    plain["options"] = {
        key: str(value) if isinstance(value, Path) else value
        for key, value in plain["options"].items()
        if value is not None or key not in OF_SPLIT
    }
    return plain


def _absolute(options: OwnTruthOptions) -> OwnTruthOptions:
    """The same with absolute paths: they are read again from anywhere."""
    given = {key: getattr(options, key) for key in PATHS}
    paths: dict[str, Any] = {
        key: None if path is None else Path(path).expanduser().absolute()
        for key, path in given.items()
    }
    labels = options.labels
    if labels not in WORDS:
        labels = str(Path(labels).expanduser().absolute())
    return replace(options, labels=labels, **paths)
