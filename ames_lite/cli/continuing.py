"""The run directory of a training: a new one, or with resume=auto that of a run to be resumed.

That is the output_dir= given, or the newest unfinished run of the same configuration below runs/.
"""

import json
from glob import escape
from pathlib import Path
from typing import Any

from ames_lite.cli.compose import Config
from ames_lite.cli.shell import run_dir, run_prefix
from ames_lite.errors import ConfigError, require
from ames_lite.io.writing import is_locked
from ames_lite.training.state import NAME

RESUME = ("auto", "never")
OF_A_RUN = {"config.json", "log.jsonl", NAME, "weights.safetensors", "meta.json", "best"}
OF_A_RUN |= {"epochs.jsonl", "bad_batch.json", "tensorboard", "detector.pt"}


def check_resume(config: Config) -> None:
    """Raises ConfigError where resume= is neither word."""
    fine, expected = config["resume"] in RESUME, " or ".join(RESUME)
    require(fine, f"resume={config['resume']}", expected=expected, kind=ConfigError)


def training_dir(config: Config, command_name: str = "train", *, search: bool = True) -> Path:
    """The run directory, with the configuration in it. Raises BadInput where it is in use.

    search: look for an unfinished run where no output_dir= is given.
    """
    if config["resume"] == "never":
        return run_dir(config, command_name)
    if config["output_dir"] is None:
        found = _unfinished(config, command_name) if search else None
        return run_dir(config, command_name) if found is None else found
    folder = Path(config["output_dir"]).expanduser()
    if not (folder / "config.json").is_file():
        return run_dir(config, command_name)
    names = {path.name for path in folder.iterdir()} - OF_A_RUN
    foreign = sorted(name for name in names if not name.startswith(("epoch_", ".")))
    require(
        not foreign,
        f"the run directory holds {', '.join(foreign[:3])}",
        where=folder.absolute(),
        expected="a training run to resume",
        remedy="give another output_dir=",
    )
    if not (folder / NAME).is_file():  # nothing was done yet
        (folder / "config.json").write_text(json.dumps(config, indent=1, default=str))
    return folder


def _unfinished(config: Config, command_name: str) -> Path | None:
    """The newest run of this configuration that is neither finished nor running."""
    found = Path("runs").glob(f"{escape(run_prefix(config, command_name))}_*/{NAME}")
    for folder in sorted((path.parent for path in found), reverse=True):
        finished = (folder / "weights.safetensors").is_file()
        if not finished and _config_of(folder) == _plain(config) and not is_locked(folder):
            return folder
    return None


def _config_of(folder: Path) -> Any:
    try:
        written = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):  # nobody's run
        return None
    return _plain(written) if isinstance(written, dict) else None


def _plain(config: Config) -> Any:
    """The configuration as JSON gives it back, without what does not make it another run."""
    kept = {key: value for key, value in config.items() if key not in ("output_dir", "resume")}
    return json.loads(json.dumps(kept, default=str))
