"""The run directory of a training: a new one, or with resume=auto that of a run to be resumed.

That is the output_dir= given, or the newest unfinished run of the same configuration below runs/.
"""

from glob import escape
from pathlib import Path

from ames_lite.cli import shell
from ames_lite.cli.schema.evaluation import Train
from ames_lite.cli.schema.extraction import TrainDetector
from ames_lite.cli.schema.jobs import Finetune
from ames_lite.errors import require
from ames_lite.io.writing import is_locked
from ames_lite.runtime import log_to
from ames_lite.training.state import NAME

WEIGHTS = "weights.safetensors"  # what a training writes last
OF_A_RUN = {
    *("config.yaml", "overrides.yaml", "run.log", "log.jsonl", "epochs.jsonl", "bad_batch.json"),
    *(NAME, WEIGHTS, "meta.json", "best", "tensorboard", "detector.pt"),
}


def training_dir(
    config: Train | TrainDetector | Finetune, command_name: str = "train", *, search: bool = True
) -> Path:
    """The run directory, with the configuration in it. Raises BadInput where it is in use.

    search: look for an unfinished run where no output_dir= is given.
    """
    prefix, folder = shell.run_prefix(config, command_name), config.output_dir
    if folder is None and search and config.resume == "auto":
        folder = _unfinished(config, prefix)
        if folder is not None:
            return folder
    if folder is not None and config.resume == "never":
        shell.refuse_used(folder, WEIGHTS)
    if folder is None or not (folder / "config.yaml").is_file():
        return shell.run_dir(config, prefix, last=WEIGHTS)
    names = {path.name for path in folder.iterdir()} - OF_A_RUN
    foreign = sorted(name for name in names if not name.startswith(("epoch_", ".")))
    what = f"the run directory holds {', '.join(foreign[:3])}"
    expected, remedy = "a training run to resume", "give another output_dir="
    require(not foreign, what, where=folder.absolute(), expected=expected, remedy=remedy)
    if not (folder / NAME).is_file():  # nothing was done yet
        shell.write_settings(folder, config)
    if not (folder / WEIGHTS).is_file():  # else the run has ended
        log_to(folder / "run.log")
    return folder


def _unfinished(config: Train | TrainDetector | Finetune, prefix: str) -> Path | None:
    found = Path("runs").glob(f"{escape(prefix)}_*/{NAME}")
    for folder in sorted((path.parent for path in found), reverse=True):
        if (folder / "config.json").is_file() and not (folder / WEIGHTS).is_file():
            print(f"not resumed: {folder}, which an older version began (config.json)")
        if shell.was_interrupted(folder, config, WEIGHTS) and not is_locked(folder):
            return folder
    return None
