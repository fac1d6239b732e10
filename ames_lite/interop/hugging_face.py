"""A dataset of Hugging Face's `datasets` as a custom dataset. Sole owner of datasets.

    write_dataset(load_dataset("<user>/<name>"), "photos")

writes the images, byte for byte as the dataset has them, and photos/labels.csv: images=photos
labels=photos/labels.csv of the commands.
"""

from collections.abc import Iterator, Mapping, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any

from ames_lite.datasets.image_lists import write_csv
from ames_lite.errors import existing_file, explained, require
from ames_lite.io.images import is_image_name
from ames_lite.io.writing import refuse_existing, replacing

SIDES = ["query", "gallery"]


def write_dataset(
    dataset: Any, folder: str | Path, *, image: str = "image", label: str = "label"
) -> Path:
    """Write the images and labels.csv into the folder; returns the path of labels.csv.

    dataset: a Dataset with columns image and label, whose images are queries and gallery alike; or
    a dict (DatasetDict) of two such, query and gallery; or pairs: a Dataset with images query and
    gallery, and label 1 where the pair is right, else 0. Raises BadInput.
    """
    folder = Path(folder)
    refuse_existing(folder / "labels.csv", False)
    if isinstance(dataset, Mapping):
        what, expected = f"there are splits {', '.join(dataset)}", "query and gallery"
        remedy = "{'query': dataset['test'], 'gallery': dataset['train']}, or one split alone"
        require(set(dataset) == set(SIDES), what, expected=expected, remedy=remedy)
        rows = [
            (f"{side}/{name}", text, side)
            for side in SIDES
            for name, text in _rows(dataset[side], folder / side, [image], label)
        ]
        return write_csv(folder / "labels.csv", [("file", "label", "split"), *rows])
    pairs = set(SIDES) <= set(dataset.column_names or ())
    columns = SIDES if pairs else [image]
    header = ("query", "gallery", "relevant") if pairs else ("file", "label")
    return write_csv(folder / "labels.csv", [header, *_rows(dataset, folder, columns, label)])


def _rows(
    dataset: Any, folder: Path, images: Sequence[str], label: str
) -> Iterator[tuple[str, ...]]:
    """The names of the images of every row, which are written, and its label."""
    remedy = "pip install 'ames_lite[datasets]'"
    with explained("datasets is not installed", ImportError, remedy=remedy):
        from datasets import Image
    have = dataset.column_names or ()
    what = f"the columns are {', '.join(have)}"
    require({*images, label} <= set(have), what, expected=f"{', '.join([*images, label])}")
    for column in images:
        dataset = dataset.cast_column(column, Image(decode=False))
    as_text = getattr(dataset.features[label], "int2str", str)  # of a ClassLabel
    for number, row in enumerate(dataset):
        require(row[label] is not None, f"row {number} has no label")
        # an image of several pairs is one file
        stem = f"{number:06d}" if len(images) == 1 else None
        names = [_write(row[column], folder, stem, f"{column}, row {number}") for column in images]
        yield (*names, as_text(row[label]))


def _write(cell: Mapping[str, Any] | None, folder: Path, stem: str | None, where: str) -> str:
    """Write an image; returns its name. stem: of the name, None: the digest of its bytes."""
    path, data = str((cell or {}).get("path") or ""), (cell or {}).get("bytes")
    require(path or data, "there is no image", where=where)
    content = data or existing_file(path, "an image is missing").read_bytes()
    unnamed = ".png" if content.startswith(b"\x89PNG") else ".jpg"  # decoded by its content
    suffix = Path(path).suffix if is_image_name(path) else unnamed
    name = f"{stem or sha256(content).hexdigest()[:16]}{suffix}"
    with replacing(folder / name, overwrite=True) as partial:
        partial.write_bytes(content)
    return name
