"""`python extract/fit_whitening.py`: a whitening of global descriptors."""

from ames_lite.cli.extraction import names_of_published
from ames_lite.cli.schema.extraction import FitWhitening
from ames_lite.cli.schema.keys import some_of
from ames_lite.cli.shell import dataset_files
from ames_lite.datasets.image_lists import read_image_list
from ames_lite.extraction.fitting import fit_whitening

SETTINGS = ("method", "dim", "shrinkage", "max_images", "overwrite")


def run(config: FitWhitening) -> None:
    """Fit a whitening, named after the data set's folder."""
    files, split, kind = dataset_files(config), config.split, config.global_
    source = files.global_descriptors(split, kind)
    labels = None
    if config.method == "within_class":
        labels = read_image_list(files.image_list(split)).labels
    names = names_of_published(files, split, source)
    output = files.whitening_path(kind, files.folder)
    path = fit_whitening(source, output, labels=labels, names=names, **some_of(config, SETTINGS))
    print(f"whitening: {path}")
