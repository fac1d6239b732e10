"""`python extract/fit_binarization.py`: a projection to bits."""

from functools import partial

from ames_lite.cli.compose import Config
from ames_lite.cli.extraction import names_of_published
from ames_lite.cli.shell import command, dataset_files
from ames_lite.extraction.fitting import fit_binarization

SETTINGS = ("bits", "seed", "iterations", "max_descriptors", "max_images", "overwrite")


def run(config: Config) -> None:
    """Fit a projection to bits, named after the data set's folder."""
    files, split = dataset_files(config), config["split"]
    store = files.local(split)
    path = fit_binarization(
        store,
        files.binarization_path(files.folder),
        names=names_of_published(files, split, store),
        **{key: config[key] for key in SETTINGS},
    )
    print(f"binarization: {path}")


main = partial(command, "fit_binarization", run)
