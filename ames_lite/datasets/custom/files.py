"""The folder of a custom dataset: image lists, ground truth, and what they were made from.

`dataset.json` is written last and holds the options and digests of their sources, so that a later
run with the same labels is accepted and one with changed labels is refused.
"""

from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path

from ames_lite.datasets.custom.images import find_images
from ames_lite.datasets.custom.split import Split
from ames_lite.datasets.custom.truth import WORDS, CustomOptions, image_folders
from ames_lite.datasets.image_lists import write_families, write_image_list
from ames_lite.datasets.layout import FAMILIES
from ames_lite.datasets.relation import Files, Relation, files_of, write_folder
from ames_lite.errors import BadInput, explained
from ames_lite.io.digest import file_digest, names_digest
from ames_lite.io.json_file import read_json_file, write_json_file

DESCRIPTION = "dataset.json"
SCHEMA = 1
BY_NAMES = ("folders", "frames", "pairs", "qrels")  # kinds that depend on which images there are
OF_SPLIT = ("families", "distractors", "val_share", "seed", "queries_per_label")
PARTS = {"train": "-train", "val": "-val"}  # of a split set, by role: what follows its name


@dataclass(frozen=True)
class Description:
    """dataset.json: what a custom dataset is and what it was made from."""

    kind: str
    protocol: str
    role: str
    image_root: Path  # that names are relative to
    options: CustomOptions
    digests: dict[str, str]  # of labels and lists, and for some kinds of the images' names

    @classmethod
    def of(cls, made: Relation, options: CustomOptions, protocol: str, role: str) -> "Description":
        digests = source_digests(options, made.kind)
        return cls(made.kind, protocol, role, made.root, options, digests)

    def write(self, path: Path) -> None:
        plain = {"schema": SCHEMA, **asdict(self)}
        for key in OF_SPLIT:
            if plain["options"][key] is None:
                del plain["options"][key]
        write_json_file(path, plain)


def write_custom(
    folder: Path, made: Relation, options: CustomOptions, protocol: str, role: str, overwrite: bool
) -> Description:
    """Write query.txt, gallery.txt, gnd_<folder>.json and dataset.json; see `write_folder`."""
    description = Description.of(made, options, protocol, role)
    _write(folder, files_of(folder.name, made), description, overwrite)
    return description


def write_split(
    root: Path, name: str, made: Split, options: CustomOptions, protocol: str, overwrite: bool
) -> Description:
    """Write the folders <name>-train (train.txt) and <name>-val (a custom dataset)."""
    description = Description.of(made.val, options, protocol, "val")
    train, val = (root / f"{name}{PARTS[role]}" for role in ("train", "val"))
    files: Files = {"train.txt": partial(write_image_list, images=made.train)}
    files[FAMILIES] = partial(write_families, rows=made.families(held_out=False))
    _write(train, files, replace(description, role="train"), overwrite)
    files = files_of(val.name, made.val)
    files[FAMILIES] = partial(write_families, rows=made.families(held_out=True))
    _write(val, files, description, overwrite)
    return description


def _write(folder: Path, files: Files, description: Description, overwrite: bool) -> None:
    files = {**files, DESCRIPTION: description.write}
    other, remedy = "a new name=, or the lists that are there", "another name="
    write_folder(folder, files, overwrite, marked_by=DESCRIPTION, expected=other, remedy=remedy)


def source_digests(options: CustomOptions, kind: str) -> dict[str, str]:
    digests = {"labels": options.labels}
    lists = {key: getattr(options, key) for key in ("queries", "gallery", "families")}
    lists |= {} if options.labels in WORDS else digests
    digests |= {key: file_digest(path) for key, path in lists.items() if path is not None}
    if kind in BY_NAMES:
        images = find_images(*image_folders(options)[0])
        digests["images"] = names_digest(images.names)
    if options.distractors is not None:
        digests["distractors"] = names_digest(find_images(options.distractors).names)
    return digests


def check_sources(
    folder: Path,
    description: Description,
    images: str | Path,
    labels: str,
    anew: Callable[[CustomOptions, Path], str],
) -> None:
    """Raise BadInput where images and labels are not those that the lists were made from."""
    given = replace(description.options, images=Path(images), labels=labels)
    found, known = source_digests(given, description.kind), description.digests
    changed = [key for key in sorted({*known, *found}) if known.get(key) != found.get(key)]
    if changed:
        key, before = changed[0], getattr(description.options, changed[0])
        was, now = (digests.get(key, "none")[:12] for digests in (known, found))
        changes = f"digest {was} ({before}) against {now} ({getattr(given, key)})"
        what = f"the {key} changed since the lists were made: {changes}"
        expected = "the same images and labels, or lists made from the new ones"
        remedy = f"{anew(given, folder)} overwrite=true, then extract again"
        raise BadInput(what, where=folder / DESCRIPTION, expected=expected, remedy=remedy)


def read_description(folder: Path) -> Description | None:
    """dataset.json of a folder; None where there is none. Raises BadInput where it is damaged."""
    path, remedy = folder / DESCRIPTION, "prepare the set again"
    if not path.is_file():
        return None
    expected = f"what prepare_dataset writes (schema {SCHEMA})"
    content = read_json_file(path, expected, remedy)
    what = "the description of a set cannot be read: {}"
    kinds = (ValueError, KeyError, TypeError, AttributeError)
    with explained(what, kinds, where=path, expected=expected, remedy=remedy):
        if content["schema"] != SCHEMA or content.keys() - {"schema", *Description.__annotations__}:
            raise ValueError(f"schema {content['schema']} with {', '.join(content)}")
        kind, protocol, role = (str(content[key]) for key in ("kind", "protocol", "role"))
        root, options = Path(content["image_root"]), CustomOptions(**content["options"])
        digests = {str(key): str(value) for key, value in content["digests"].items()}
        return Description(kind, protocol, role, root, options, digests)
