"""`python extract/fit_binarization.py`: a projection to bits."""

from ames_lite.cli.extraction import names_of_published
from ames_lite.cli.schema.extraction import FitBinarization
from ames_lite.cli.schema.keys import some_of
from ames_lite.cli.shell import dataset_files
from ames_lite.extraction.fitting import fit_binarization

SETTINGS = ("bits", "seed", "iterations", "max_descriptors", "max_images", "overwrite")


def run(config: FitBinarization) -> None:
    """Fit a projection to bits, named after the data set's folder."""
    files, split = dataset_files(config), config.split
    store = files.local(split)
    names, output = names_of_published(files, split, store), files.binarization_path(files.folder)
    path = fit_binarization(store, output, names=names, **some_of(config, SETTINGS))
    print(f"binarization: {path}")
