"""The folder of a custom dataset: image lists, ground truth, and what they were made from.

`dataset.json` is written last and holds the options and digests of their sources, so that a later
run with the same labels is accepted and one with changed labels is refused.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from ames_lite.datasets.custom.images import find_images
from ames_lite.datasets.custom.split import Split
from ames_lite.datasets.custom.truth import WORDS, CustomDataset, CustomOptions
from ames_lite.datasets.families import write_families
from ames_lite.datasets.image_lists import write_image_list
from ames_lite.datasets.layout import FAMILIES
from ames_lite.datasets.writing import write_folder, write_lists
from ames_lite.errors import BadInput
from ames_lite.io.digest import file_digest, names_digest
from ames_lite.io.json_file import read_json_file

DESCRIPTION = "dataset.json"
SCHEMA = 1
BY_NAMES = ("folders", "frames", "pairs")  # kinds that depend on which images there are
PATHS = ("images", "query_images", "queries", "gallery", "families", "distractors")
OF_SPLIT = ("families", "distractors", "val_share", "seed", "queries_per_label")
PARTS = {"train": "-train", "val": "-val"}  # of a split set, by role: what follows its name


@dataclass(frozen=True)
class Description:
    """dataset.json: what a custom dataset is and what it was made from.

    image_root: the folder that names are relative to; options: what was given, paths absolute;
    digests: of the labels, the lists, and for some kinds of the images' names.
    """

    kind: str
    protocol: str
    role: str
    image_root: Path
    options: CustomOptions
    digests: dict[str, str]


def write_custom(
    folder: Path,
    made: CustomDataset,
    options: CustomOptions,
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
    _write(
        folder, description, lambda into: write_lists(into, folder.name, made.relation), overwrite
    )
    return description


def write_split(
    root: Path,
    name: str,
    made: Split,
    options: CustomOptions,
    protocol: str,
    overwrite: bool,
) -> Description:
    """Write the folders <name>-train (train.txt) and <name>-val (a custom dataset).

    Both have a families.csv and a dataset.json; returns the latter of val. Raises BadInput where
    other lists are there already, unless overwrite.
    """
    options = _absolute(options)
    digests = source_digests(options, made.val.kind)

    def write_train(into: Path) -> None:
        write_image_list(into / "train.txt", made.train)
        write_families(into / FAMILIES, made.families(held_out=False))

    def write_val(into: Path) -> None:
        write_lists(into, f"{name}{PARTS['val']}", made.val.relation)
        write_families(into / FAMILIES, made.families(held_out=True))

    description = Description(made.val.kind, protocol, "val", made.val.root, options, digests)
    train = replace(description, role="train")
    _write(root / f"{name}{PARTS['train']}", train, write_train, overwrite)
    _write(root / f"{name}{PARTS['val']}", description, write_val, overwrite)
    return description


def _write(
    folder: Path, description: Description, write: Callable[[Path], None], overwrite: bool
) -> None:
    """What `write` makes, and dataset.json, which comes last."""

    def write_all(into: Path) -> None:
        write(into)
        text = json.dumps(_to_json(description), indent=1, ensure_ascii=False)
        (into / DESCRIPTION).write_text(text + "\n", encoding="utf-8")

    expected, remedy = "a new name=, or the lists that are there", "another name="
    write_folder(folder, write_all, overwrite, last=DESCRIPTION, expected=expected, remedy=remedy)


def source_digests(options: CustomOptions, kind: str) -> dict[str, str]:
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


def check_sources(
    folder: Path,
    description: Description,
    images: Path,
    labels: str,
    anew: Callable[[CustomOptions, Path], str],
) -> None:
    """Raise BadInput where images and labels are not those that the lists were made from.

    anew: what makes the lists of some options in a folder, for the message.
    """
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
            remedy=f"{anew(given, folder)} overwrite=true, then extract again",
        )


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
            options=CustomOptions(**given),
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


def _absolute(options: CustomOptions) -> CustomOptions:
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
