"""`python extract/fit_binarization.py`: a projection to bits."""

from __future__ import annotations

from collections.abc import Sequence

from ames_lite.cli.compose import Config
from ames_lite.cli.shell import command, dataset_files
from ames_lite.datasets.image_lists import read_image_list
from ames_lite.extraction.binarization import fit_binarization
from ames_lite.stores.published.store import is_published


def main(overrides: Sequence[str] | None = None) -> int:
    """The command."""
    return command("fit_binarization", run, overrides)


def run(config: Config) -> None:
    """Fit a projection to bits, named after the data set's folder."""
    files, split = dataset_files(config), config["split"]
    store = files.local(split)
    names = read_image_list(files.image_list(split)).names if is_published(store) else None
    path = fit_binarization(
        store,
        files.binarization_path(files.folder),
        names=names,
        bits=config["bits"],
        seed=config["seed"],
        iterations=config["iterations"],
        max_descriptors=config["max_descriptors"],
        max_images=config["max_images"],
        overwrite=config["overwrite"],
    )
    print(f"binarization: {path}")
