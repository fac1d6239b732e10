"""The run directory of a training: a new one, or with resume=auto that of a run to be resumed.

That is the output_dir= given, or the newest unfinished run of the same configuration below runs/.
"""

from glob import escape
from pathlib import Path
from typing import Any

import yaml

from ames_lite.cli.compose import as_dict
from ames_lite.cli.schema.evaluation import Train
from ames_lite.cli.schema.extraction import TrainDetector
from ames_lite.cli.shell import run_dir, run_prefix, write_settings
from ames_lite.errors import require
from ames_lite.io.writing import is_locked
from ames_lite.runtime import log_to
from ames_lite.training.state import NAME

OF_NO_RUN = ("output_dir", "resume", "progress")  # keys that make no other run
OF_A_RUN = {
    *("config.yaml", "overrides.yaml", "run.log", "log.jsonl", "epochs.jsonl", "bad_batch.json"),
    *(NAME, "weights.safetensors", "meta.json", "best", "tensorboard", "detector.pt"),
}


def training_dir(
    config: Train | TrainDetector, command_name: str = "train", *, search: bool = True
) -> Path:
    """The run directory, with the configuration in it. Raises BadInput where it is in use.

    search: look for an unfinished run where no output_dir= is given.
    """
    prefix, folder = run_prefix(config, command_name), config.output_dir
    if folder is None and search and config.resume == "auto":
        folder = _unfinished(config, prefix)
        if folder is not None:
            return folder
    if folder is None or config.resume == "never" or not (folder / "config.yaml").is_file():
        return run_dir(config, prefix)
    names = {path.name for path in folder.iterdir()} - OF_A_RUN
    foreign = sorted(name for name in names if not name.startswith(("epoch_", ".")))
    what = f"the run directory holds {', '.join(foreign[:3])}"
    expected, remedy = "a training run to resume", "give another output_dir="
    require(not foreign, what, where=folder.absolute(), expected=expected, remedy=remedy)
    if not (folder / NAME).is_file():  # nothing was done yet
        write_settings(folder, config)
    if not (folder / "weights.safetensors").is_file():  # else the run has ended
        log_to(folder / "run.log")
    return folder


def _unfinished(config: Train | TrainDetector, prefix: str) -> Path | None:
    found = Path("runs").glob(f"{escape(prefix)}_*/{NAME}")
    for folder in sorted((path.parent for path in found), reverse=True):
        finished = (folder / "weights.safetensors").is_file()
        if not finished and (folder / "config.json").is_file():
            print(f"not resumed: {folder}, which an older version began (config.json)")
        if not finished and _config_of(folder) == _plain(as_dict(config)) and not is_locked(folder):
            return folder
    return None


def _config_of(folder: Path) -> Any:
    try:
        written = yaml.safe_load((folder / "config.yaml").read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError):  # nobody's run
        return None
    return _plain(written) if isinstance(written, dict) else None


def _plain(config: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in config.items() if key not in OF_NO_RUN}
