"""dataset=folder: a custom dataset is prepared on first use, from images= and labels=; dataset.json
remembers what the command line leaves open: protocol, role, and the images' folder.
"""

from dataclasses import asdict
from pathlib import Path

from ames_lite.cli.schema.keys import Data
from ames_lite.datasets.custom import files
from ames_lite.datasets.custom.files import PARTS, Description, read_description
from ames_lite.datasets.custom.truth import FORMS, CustomOptions, make_custom
from ames_lite.datasets.layout import PUBLISHED_LISTS
from ames_lite.datasets.relation import Relation
from ames_lite.errors import ConfigError, check_config, require
from ames_lite.evaluation.protocols import PROTOCOLS, get_protocol
from ames_lite.io.overrides import paste, word

OPTION = "folder"
# place recognition: hits in the top k over all queries, as for the public sets
PROTOCOL_OF = {"coordinates": "vpr_all", "frames": "vpr_all"}
DEFAULT_PROTOCOL = "instance"


def folder_of(data_root: Path, name: str) -> Path:
    """The folder of a dataset. Raises ConfigError for a name that leads elsewhere."""
    fine = name.strip(". ") and Path(name).name == name
    check_config(fine, f"name={name}", "the name of one folder, below data_root")
    return data_root / name


def prepare_command(options: CustomOptions, folder: Path) -> str:
    given = {key: value for key, value in asdict(options).items() if value is not None}
    name = folder.name
    if options.val_share is not None:
        name = name.removesuffix(next((end for end in PARTS.values() if name.endswith(end)), ""))
    given |= {"name": name, "data_root": folder.parent}
    return paste("scripts/prepare_dataset.py", [word(key, value) for key, value in given.items()])


def prepare(
    folder: Path,
    options: CustomOptions,
    *,
    protocol: str | None = None,
    role: str = "test",
    overwrite: bool = False,
) -> Description:
    """Write the lists of a dataset, and print what came of it."""
    known = protocol is None or protocol in PROTOCOLS
    check_config(known, f"protocol={protocol}", f"one of {', '.join(PROTOCOLS)}")
    made = make_custom(options)
    chosen = choose_protocol(made, protocol)
    description = files.write_custom(folder, made, options, chosen, role, overwrite)
    show(folder, made, description)
    return description


def choose_protocol(made: Relation, asked: str | None) -> str:
    """The protocol asked for, or that of the kind. Raises ConfigError where grades do not fit."""
    fits = "revisitop" if made.truth.graded else PROTOCOL_OF.get(made.kind, DEFAULT_PROTOCOL)
    chosen = asked or fits
    what = f"protocol={chosen}, and the labels have {'' if made.truth.graded else 'no '}grades"
    check_config(get_protocol(chosen).graded == made.truth.graded, what, fits)
    return chosen


def show(folder: Path, made: Relation, description: Description) -> None:
    truth, without = made.truth, made.without_positives
    right = sum(map(len, truth.easy)) + sum(map(len, truth.hard))
    queries, gallery = len(truth.query_names), len(truth.gallery_names)
    print(f"{queries} queries, {gallery} gallery images: {folder}")
    if made.labelled:
        print(f"{made.kind}: {right} positives, {right / queries:.1f} a query")
    if without and made.labelled:
        misses = get_protocol(description.protocol).misses
        fate = "each counts as a miss" if misses else "metrics leave them out"
        print(f"{len(without)} queries have no positive, {fate}: {', '.join(without[:3])}")
    for note in made.notes:
        print(note)
    print(f"protocol {description.protocol}, role {description.role}, names from {made.root}")


def settle(config: Data, data_root: Path) -> Description | None:
    """Prepare or check a custom dataset; its dataset.json, which is returned, fills in protocol,
    role and images. Raises ConfigError for labels= that do not fit, BadInput where they changed.
    """
    dataset = config.dataset
    images, labels = config.images, config.labels
    if dataset.option != OPTION:
        what = f"labels= is given and dataset={dataset.option} brings its own"
        check_config(labels is None, what, f"dataset={OPTION}, or no labels=")
        if not dataset.prepared:
            return None
    folder = folder_of(data_root, dataset.folder)
    if labels is not None:
        _prepare_or_check(folder, images, labels)
    description = read_description(folder)
    if description is None:
        dataset.protocol = dataset.protocol or DEFAULT_PROTOCOL
        return None
    dataset.protocol = dataset.protocol or description.protocol
    if dataset.role == "test":
        dataset.role = description.role
    same = images is None or images.absolute() == description.options.images
    if same and description.image_root.is_dir():
        config.images = description.image_root
    return description


def _prepare_or_check(folder: Path, images: Path | None, labels: str) -> None:
    if images is None:
        raise ConfigError("labels= is given without images=", expected=f"images=<folder> {FORMS}")
    options = CustomOptions(images, labels)
    description = read_description(folder)
    if description is not None:
        files.check_sources(folder, description, images, labels, prepare_command)
        return
    lists = [f"{side}.txt" for side in PUBLISHED_LISTS] + [f"gnd_{folder.name}.json"]
    there = [name for name in lists if (folder / name).exists()]
    what = f"labels= is given, and {', '.join(there)} came from elsewhere"
    expected = "lists made from these labels, or no labels="
    remedy = f"{prepare_command(options, folder)} overwrite=true"
    require(not there, what, where=folder, expected=expected, remedy=remedy)
    try:
        prepare(folder, options)
    except ConfigError as error:  # what these labels need has no key here
        raise ConfigError(str(error), remedy=prepare_command(options, folder)) from error
