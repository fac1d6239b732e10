"""`python scripts/prepare_dataset.py`: image lists and ground truth of a custom dataset, and
dataset.json, which says what they were made from and which protocol evaluates them, written to
data_root/<name>. With val_share=, class folders become a training set and a validation set.
"""

from collections import Counter
from dataclasses import replace
from pathlib import Path

from ames_lite.cli.own_folder import choose_protocol, folder_of, prepare, show
from ames_lite.cli.schema.extraction import PrepareDataset
from ames_lite.cli.schema.keys import some_of
from ames_lite.cli.shell import data_root, print_table
from ames_lite.datasets.custom.files import PARTS, write_split
from ames_lite.datasets.custom.split import Split, split_folders
from ames_lite.datasets.custom.truth import FORMS, CustomOptions
from ames_lite.errors import check_config

OPTIONS = (
    *("images", "labels", "kind", "query_images", "queries", "gallery", "radius", "tolerance"),
    *("families", "val_share", "distractors"),
)


def run(config: PrepareDataset) -> Path:
    """Write the lists and the ground truth; returns their folder, of a split the first."""
    for key in ("images", "labels"):
        given = getattr(config, key) is not None
        check_config(given, f"{key}= is not given", f"images=<folder> {FORMS}")
    options = CustomOptions(**some_of(config, OPTIONS))
    folder = folder_of(data_root(config), config.name)
    if options.val_share is not None:
        options = replace(options, seed=config.seed, queries_per_label=config.queries_per_label)
        return _split(folder, options, config.protocol, config.overwrite)
    for key in ("families", "distractors"):
        expected = "val_share=<the share of the instances to validate on>"
        check_config(getattr(config, key) is None, f"{key}= is given without val_share=", expected)
    prepare(folder, options, protocol=config.protocol, role=config.role, overwrite=config.overwrite)
    return folder


def _split(folder: Path, options: CustomOptions, protocol: str | None, overwrite: bool) -> Path:
    """Write <name>-train and <name>-val, print what came of it; returns the folder of the first."""
    train, val = (folder.with_name(f"{folder.name}{end}") for end in PARTS.values())
    made = split_folders(options)
    chosen = choose_protocol(made.val, protocol)
    description = write_split(folder.parent, folder.name, made, options, chosen, overwrite)
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
