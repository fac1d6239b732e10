"""`python extract/fit_binarization.py`: a projection to bits."""

from ames_lite.cli.extraction import names_of_published
from ames_lite.cli.schema.extraction import FitBinarization
from ames_lite.cli.shell import dataset_files
from ames_lite.extraction.fitting import fit_binarization


def run(config: FitBinarization) -> None:
    """Fit a projection to bits, named after the data set's folder."""
    files, split = dataset_files(config), config.split
    store = files.local(split)
    path = fit_binarization(
        store,
        files.binarization_path(files.folder),
        names=names_of_published(files, split, store),
        bits=config.bits,
        seed=config.seed,
        iterations=config.iterations,
        max_descriptors=config.max_descriptors,
        max_images=config.max_images,
        overwrite=config.overwrite,
    )
    print(f"binarization: {path}")
