"""`python scripts/prepare_dataset.py`: image lists and ground truth of a folder of one's own.

In: a folder of images and a CSV with the columns file,label. Out, in data_root/<name>: gallery.txt
(every listed image), query.txt (every image whose label another one shares) and gnd_<name>.json.
The label `distractor` never makes a partner.
"""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ames_lite.cli.compose import Config
from ames_lite.cli.shell import command, data_root
from ames_lite.errors import BadInput, ConfigError, MissingFile
from ames_lite.io.ground_truth import write_ground_truth
from ames_lite.io.image_lists import ImageList, write_image_list
from ames_lite.io.images import list_images
from ames_lite.records import GroundTruth

ALONE = "distractor"


def main(overrides: Sequence[str] | None = None) -> int:
    """The command."""
    return command("prepare_dataset", run, overrides)


def run(config: Config) -> Path:
    """Write the lists and the ground truth; returns their folder."""
    for key in ("images", "labels"):
        if config[key] is None:
            raise ConfigError(f"{key}= is not given", expected="images=<folder> labels=<csv>")
    labels = read_labels(Path(config["labels"]), set(list_images(config["images"])))
    folder = data_root(config) / config["name"]
    names = tuple(labels)
    truth = label_ground_truth(names, list(labels.values()))
    if not truth.query_names:
        raise BadInput("no two images share a label", where=config["labels"])
    codes = {label: code for code, label in enumerate(sorted(set(labels.values())))}
    for split, chosen in (("gallery", names), ("query", truth.query_names)):
        numbers = np.array([codes[labels[name]] for name in chosen])
        folder.mkdir(parents=True, exist_ok=True)
        write_image_list(folder / f"{split}.txt", ImageList(chosen, numbers))
    write_ground_truth(folder / f"gnd_{config['name']}.json", truth)
    print(f"{len(truth.query_names)} queries, {len(names)} gallery images: {folder}")
    return folder


def read_labels(path: Path, present: set[str]) -> dict[str, str]:
    """Label by file name, in the order of the CSV. Raises BadInput that names the line."""
    if not path.is_file():
        raise MissingFile("the labels are missing", where=path, expected="a CSV: file,label")
    found: dict[str, str] = {}
    with path.open(newline="", encoding="utf-8") as file:
        reader = csv.DictReader(file)
        if not {"file", "label"} <= set(reader.fieldnames or []):
            raise BadInput(f"columns {reader.fieldnames}", where=path, expected="file,label")
        for line, row in enumerate(reader, start=2):
            name = row["file"]
            if name in found or name not in present or not row["label"]:
                why = "listed twice" if name in found else "without a label or not in the folder"
                raise BadInput(f"'{name}' is {why}", where=f"{path}, line {line}")
            found[name] = row["label"]
    return found


def label_ground_truth(names: Sequence[str], labels: Sequence[str]) -> GroundTruth:
    """Every image with a partner is a query; its positives are the others of its label."""
    codes = np.array(labels)
    queries = [
        i for i, label in enumerate(labels) if label != ALONE and int((codes == label).sum()) > 1
    ]
    positives = [np.setdiff1d(np.flatnonzero(codes == labels[i]), [i]) for i in queries]
    nothing = tuple(np.zeros(0, np.int64) for _ in queries)
    return GroundTruth(
        query_names=tuple(names[i] for i in queries),
        gallery_names=tuple(names),
        easy=tuple(positives),
        hard=nothing,
        junk=nothing,
        bbox=(None,) * len(queries),
        graded=False,
    )
