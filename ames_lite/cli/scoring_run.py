"""What commands that score share: options, and the run directory, new or resumed."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

import torch

from ames_lite.cli.schema.evaluation import Scored
from ames_lite.cli.schema.keys import Dataset, Device, Scoring, some_of
from ames_lite.cli.shell import run_dir, run_prefix
from ames_lite.errors import ConfigError, check_config, require
from ames_lite.evaluation.evaluator import Work, reuse, score
from ames_lite.processes import ALONE, Processes, process_group
from ames_lite.records import PairScores
from ames_lite.reranking.scorer import Cost, ScoringOptions
from ames_lite.runtime import autocast, settle_precision

C = TypeVar("C", bound=Device)
S = TypeVar("S", bound=Scored)
SCORES = "scores.hdf5"


def scoring_options(
    config: Scoring, device: torch.device, query_count: int, gallery_count: int
) -> ScoringOptions:
    """How to score. Raises ConfigError for what no machine can do."""
    most = config.max_memory
    check_config(most > 0, f"max_memory={most:g}", "GiB of memory, above 0")
    how = some_of(config, ("precision", "compile", "threads"))
    how |= {"query_count": query_count, "gallery_count": gallery_count}
    return ScoringOptions(device=str(device), max_memory=most, **how)


@contextmanager
def scoring(config: S) -> Iterator[tuple[S, Processes, ScoringOptions]]:
    """The processes that score, the configuration with its precision settled, how to score."""
    with process_group(config.device) as (processes, device):
        config = settled(config, device, processes)
        counts = config.query_desc_num, config.gallery_desc_num
        yield config, processes, scoring_options(config, device, *counts)


def settled(config: C, device: torch.device, processes: Processes = ALONE) -> C:
    """With `auto` settled on the first process' device. BadInput: a device lacks the precision."""
    autocast(config.precision, device)  # in every process, or the others would wait for one
    found = settle_precision(config.precision, device) if processes.first else ""
    return replace(config, precision=processes.from_first(found))


def check_validation_set(key: str, dataset: Dataset) -> None:
    """Raises ConfigError for a set that is reported on."""
    what = f"{key}={dataset.option} has the role '{dataset.role}'"
    expected = "a validation set (role: val): nothing is chosen on what is reported"
    check_config(dataset.role == "val", what, expected)


def run_folder(config: Scored, command_name: str, processes: Processes, last: str) -> Path:
    """The run directory of all processes. last: what it writes last. Raises: nothing to resume."""
    made = ""
    if processes.first:
        named = run_prefix(config, command_name)
        made = str(_resumed(config, last) if config.resume else run_dir(config, named, last))
    return Path(processes.from_first(made))


def _resumed(config: Scored, last: str) -> Path:
    folder = config.output_dir
    if folder is None:
        raise ConfigError("resume=true without output_dir=", expected="the folder of the run")
    where, expected = folder.absolute(), "the folder of a run that was interrupted"
    what, remedy = "the run has ended", "give another output_dir="
    require(not (folder / last).exists(), what, where=where, expected=expected, remedy=remedy)
    begun = (folder / "config.yaml").exists()
    what, remedy = "no run was begun here", "leave resume=true away"
    require(begun, what, where=where, expected=expected, remedy=remedy)
    return folder


def scores_in(folder: Path, work: Work, processes: Processes) -> tuple[PairScores, Cost]:
    """The scores of the run in this directory: made now, or by an interrupted run of the same."""
    path = folder / SCORES
    if path.exists():
        return reuse(work, path)
    return score(work, path, processes)
