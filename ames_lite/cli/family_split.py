"""prepare_dataset with val_share=: class folders become a training set and a validation set."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from ames_lite.cli.own_folder import choose_protocol, folder_of, show
from ames_lite.cli.shell import print_table
from ames_lite.datasets.custom.files import PARTS, write_split
from ames_lite.datasets.custom.split import Split, split_folders
from ames_lite.datasets.custom.truth import CustomOptions


def prepare_split(
    root: Path, name: str, options: CustomOptions, protocol: str | None, overwrite: bool
) -> Path:
    """Write <name>-train and <name>-val, print what came of it; returns the folder of the first."""
    folder = folder_of(root, name)
    train, val = (folder.with_name(f"{name}{end}") for end in PARTS.values())
    made = split_folders(options)
    chosen = choose_protocol(made.val, protocol)
    description = write_split(root, name, made, options, chosen, overwrite)
    labels = len(made.families(held_out=False))
    print(f"{len(made.train)} images to train on, {labels} labels: {train}")
    show(val, made.val, description)
    print_table(*_by_kind(made))
    return train


def _by_kind(made: Split) -> tuple[list[str], list[list[object]]]:
    assert made.train.labels is not None and made.val.codes is not None
    images = Counter(made.train.labels.tolist()) + Counter(made.val.codes.values())
    queries = Counter(made.val.codes[name] for name in made.val.truth.query_names)
    header = ["kind", "set", "families", "labels", "images", "queries"]
    rows: list[list[object]] = []
    for kind in sorted({one.kind for one in made.instances.values()}):
        for role in PARTS:
            of_kind = [row for row in made.families(role == "val") if row[3] == kind]
            labels = [row[0] for row in of_kind]
            counts = (sum(of[label] for label in labels) for of in (images, queries))
            rows.append([kind, role, len({row[1] for row in of_kind}), len(labels), *counts])
    if made.val.alone in images:
        rows.append(["(distractors)", "val", None, None, images[made.val.alone], None])
    return header, rows
