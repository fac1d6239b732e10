"""Hydra's own flags (`-m`, `--info`, `--shell-completion`, `hydra/launcher=…`): runs by hydra.main.
All jobs of a sweep are checked before the first one starts; one of results ends with a table.
"""

import sys
from collections.abc import Sequence
from itertools import product
from pathlib import Path

import hydra
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import CompactHydraException
from omegaconf import DictConfig

from ames_lite.cli import run
from ames_lite.cli.compose import CONFIG_NAME, compose, search_path, sweep_values
from ames_lite.cli.overrides import in_our_words
from ames_lite.cli.shell import RESULTS, exit_code, stamped_dir
from ames_lite.errors import check_config
from ames_lite.io.overrides import word

INTERRUPTED = 128  # exit codes above it are of signals


def main(name: str, words: Sequence[str]) -> int:
    """Run a command of COMMANDS by hydra.main; returns its exit code."""
    return exit_code(lambda: _run(name, in_our_words(name, words)))


def _run(name: str, words: Sequence[str]) -> None:
    """Raises ConfigError, before any job, for words that one of the jobs would refuse."""
    if {"-sc", "--shell-completion"} & set(words):
        hydra.main(search_path(name)[0], name, version_base="1.3")(print)()
        return
    many = bool({"-m", "--multirun"} & set(words))
    given = [text for text in words if "=" in text and not text.startswith(("-", "hydra."))]
    jobs = list(product(*map(sweep_values, given)))
    one = many or len(jobs) == 1
    check_config(one, "some keys have several values", "--multirun, or -m, for a sweep")
    primary = [text for text in words if text.startswith(CONFIG_NAME)]
    for job in jobs:
        compose(name, [*primary, *(text for text in job if not text.startswith("hydra/"))])
    key = "hydra.sweep.dir" if many else "hydra.run.dir"
    folder = dict(text.split("=", 1) for text in words if "=" in text).get(key)
    if folder is None:
        folder = str(stamped_dir(f"sweep_{name}" if many else name))
        words = [*words, word(key, folder)]
    configs, others = search_path(primary[0].removeprefix(CONFIG_NAME) if primary else name)
    sys.argv = [name, *words, f"hydra.job.name={name}", *others]
    hydra.main(configs, name, version_base="1.3")(_Job(name, primary))()
    if many:
        _print_table(Path(folder.strip("'\"")))


class _Job:
    """A job of Hydra: the command on its words. Raises CompactHydraException, which Hydra shows
    without a traceback, where it fails; KeyboardInterrupt, which ends the sweep, if interrupted.
    """

    def __init__(self, name: str, flags: Sequence[str]) -> None:
        self.name, self.flags = name, flags
        self.__name__ = name

    def __call__(self, config: DictConfig) -> None:
        settings = HydraConfig.get()
        words = [*self.flags, *settings.overrides.task]
        if config.get("output_dir", "") is None:
            words.append(word("output_dir", settings.runtime.output_dir))
        GlobalHydra.instance().clear()  # the command composes its own configuration
        code = run(self.name, words)
        if code >= INTERRUPTED:
            raise KeyboardInterrupt
        if code:
            logs = settings.launcher.get("submitit_folder")  # submitit's, of one job
            said = f"; what it printed is below {Path(logs).parent}" if logs else ""
            raise CompactHydraException(f"{self.name} ended with exit code {code}{said}")


def _print_table(folder: Path) -> None:
    found = sorted(path.parent for path in folder.rglob(RESULTS))
    if len(found) > 1:
        names = [str(path.relative_to(folder)) for path in found]
        run("compare", [word("results", list(map(str, found))), word("names", names)])
