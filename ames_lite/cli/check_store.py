"""`python scripts/check_store.py`: what is wrong with the files of a data set. Exit code 3 where
faults were found, 0 where there are none, 1 where there is nothing to check.
"""

from ames_lite.cli.schema.extraction import CheckStore
from ames_lite.cli.shell import chosen_splits, dataset_files, with_names
from ames_lite.datasets.check import Report, check_dataset, check_store

FOUND_FAULTS = 3


def run(config: CheckStore) -> int:
    """Print what was found; returns the exit code."""
    if config.store is None:
        files = dataset_files(config)
        report = check_dataset(files, chosen_splits(config), config.neighbors)
    else:
        report = Report()
        check_store(config.store, None, report)
    for kind, listed in (("note", report.notes), ("found", report.findings)):
        for where, what in listed:
            said = with_names(what, config).replace("\n", "\n  ")
            print(f"{kind}: {where}\n  {said}")
    number = len(report.findings)
    print("no faults" if number == 0 else f"{number} fault{'s' if number > 1 else ''}")
    return FOUND_FAULTS if number else 0
