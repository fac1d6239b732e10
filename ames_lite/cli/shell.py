"""What every command shares: exit codes and messages, data root, run directory, tables. A user's
mistake is one message and exit code 1, without a traceback; AMES_DEBUG=1 shows it.
"""

import os
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from functools import partial
from glob import escape
from importlib import import_module
from itertools import chain, count
from pathlib import Path
from typing import Any

import yaml

from ames_lite import errors
from ames_lite.cli import asks_help, print_any_text, print_help
from ames_lite.cli.compose import as_dict, compose, given_words
from ames_lite.cli.overrides import in_our_words
from ames_lite.cli.own_folder import OPTION, settle
from ames_lite.cli.remedies import THE_SET, Files, with_commands
from ames_lite.cli.schema.keys import Data, Dataset, Root, Run, Splits, some_of
from ames_lite.cli.steps import REMEDY, make_missing
from ames_lite.datasets.layout import SPLITS
from ames_lite.errors import MissingFile, UserError, check_config, existing_file, require
from ames_lite.evaluation.metrics import DIVISORS
from ames_lite.evaluation.protocols import Protocol, get_protocol
from ames_lite.io.overrides import shell_word, word
from ames_lite.io.shipped import conf_dir
from ames_lite.io.writing import explain_write_errors, replacing
from ames_lite.runtime import PROGRESS, log_to, set_up_logging
from ames_lite.stores.checksums import VERIFY

OF_NO_RUN = ("output_dir", "resume", "progress", "verify")  # keys that make no other run
RESULTS = "results.json"
SCRIPT = r"python (?:scripts|extract)/(\w+)\.py"


def command(name: str, work: Callable[[Any], object], words: Sequence[str] | None = None) -> int:
    """Compose configuration `name`, do the work, return the exit code: its result, if a number."""
    print_any_text()
    given = sys.argv[1:] if words is None else list(words)
    if asks_help(given):
        print_help(name)
        return 0
    set_up_logging()

    configs: list[Any] = []

    def composed() -> object:
        config = compose(name, in_our_words(name, given))
        configs.append(config)
        os.environ[PROGRESS] = str(int(getattr(config, "progress", True)))
        os.environ[VERIFY] = str(int(getattr(config, "verify", True)))
        if getattr(config, "plan", False):
            return import_module("ames_lite.cli.planning").plan(name, config)
        if getattr(config, "prepare", False):
            check_alone("prepare=true in several processes", "one process, which prepares")
            return make_missing(partial(work, config), partial(with_names, config=config))
        return work(config)

    return exit_code(composed, configs)


def check_alone(what: str, expected: str, remedy: str | None = None) -> None:
    """Raises ConfigError where torchrun started several processes."""
    alone = int(os.environ.get("WORLD_SIZE", "1")) == 1
    check_config(alone, what, expected, remedy=remedy)


def exit_code(work: Callable[[], object], configs: Sequence[Any] = ()) -> int:
    """Do the work; a user's mistake becomes one message and 1. configs: filled by the work."""
    try:
        done = work()
    except UserError as error:
        if os.environ.get("AMES_DEBUG") == "1":
            raise
        message = with_names(str(error), configs[0] if configs else None)
        takes_prepare = bool(configs) and isinstance(configs[0], Data)
        if takes_prepare and isinstance(error, MissingFile) and REMEDY.search(message):
            message += "\nor all of it: the same command with prepare=true"
        print(f"error: {as_started(message)}", file=sys.stderr)
        return 1
    except OSError as error:  # what the system refuses is no bug either
        if os.environ.get("AMES_DEBUG") == "1" or errors.disk_errno(error) is None:
            raise
        print(f"error: {errors.disk_error(error, error.filename)}", file=sys.stderr)
        return 1
    except KeyboardInterrupt as stop:
        print(str(stop) or "interrupted", file=sys.stderr)
        return 128 + getattr(stop, "signum", 2)  # as a shell says it: 130, or 143 for SIGTERM
    return done if isinstance(done, int) else 0


def with_names(message: str, config: object) -> str:
    """The message, with commands for its remedies, on the set of the configuration."""
    general = with_commands(message)
    if THE_SET not in general or not isinstance(config, Data):
        return general
    return with_commands(message, " ".join(map(shell_word, _files(config).words())))


def as_started(message: str) -> str:
    """The message, its scripts as commands of `ames` where the project is installed without them.

    >>> re.sub(SCRIPT, r"ames \\1", "remedy: python scripts/train.py desc_name=sift")
    'remedy: ames train desc_name=sift'
    """
    return message if _checkout() else re.sub(SCRIPT, r"ames \1", message)


def _checkout() -> Path | None:
    """The checkout that the project runs from, if it does."""
    folder = conf_dir().parent
    return folder if (folder / "hubconf.py").is_file() else None


def data_root(config: Root) -> Path:
    """Where the data sets are: `data_root=`, or the checkout's data/ (./data once installed)."""
    if config.data_root is not None:
        root = config.data_root.absolute()
        expected = "a folder, or a new one"
        require(not root.is_file(), "data_root= is a file", where=root, expected=expected)
        return root
    return (_checkout() or Path.cwd()) / "data"


def dataset_files(config: Data) -> Files:
    """The files of the data set that a configuration names; completes that of dataset=folder."""
    own = settle(config, data_root(config))
    return _files(config, None if own is None else own.image_root)


def _files(config: Data, images: Path | None = None) -> Files:
    """images: their folder, where images= does not say."""
    root, dataset = data_root(config), config.dataset
    page = dataset.page
    if dataset.option == OPTION:
        where = word("name", dataset.folder), word("data_root", root)
        page = page.replace("name=<name>", " ".join(map(shell_word, where)))
    found = config.images or images
    how = some_of(dataset, ("option", "ground_truth_of", "skip_queries"))
    how |= {"folder": dataset.lists_folder, "image_folder": dataset.images_folder}
    how |= {"data_root": root, "desc_name": config.desc_name, "page": page, "swapped": dataset.swap}
    return Files(dataset=dataset, images=found and found.absolute(), **how)


def dataset_named(name: str, folder: str = "own") -> Dataset:
    found: Dataset = compose("prepare_set", [f"dataset={name}", word("name", folder)]).dataset
    return found


def protocol_of(config: Data) -> Protocol:
    """The protocol of the data set that a configuration names."""
    dataset, divisor = config.dataset, getattr(config, "ap_divisor", DIVISORS[0])
    found, given = get_protocol(str(dataset.protocol)), getattr(config, "k", None)
    ks = () if given is None else tuple(as_list(given))
    check_config(all(k >= 1 for k in ks), f"k={given}", "ranks of at least 1: k=[1,5,10]")
    return replace(found, private=dataset.private_queries, ap_divisor=divisor, ks=ks)


def find_vocabulary(config: Data, given: Path | None) -> Path:
    """`vocabulary=`, or data_root's only one for desc_name. Raises MissingFile, BadInput."""
    root, name, remedy = data_root(config), config.desc_name, _build_vocabulary(config)
    if given is not None:
        return existing_file(given, "missing: the vocabulary", remedy=remedy)
    found = sorted(root.glob(f"vlad_{escape(name)}_*.npz"))
    where = root / f"vlad_{name}_<domain>.npz"
    require(found, "missing: a vocabulary", where=where, remedy=remedy, kind=MissingFile)
    what = f"there are several vocabularies: {', '.join(path.name for path in found)}"
    require(len(found) == 1, what, remedy="choose by vocabulary=")
    return found[0]


def _build_vocabulary(config: Data) -> str:
    """The command that builds a vocabulary; for dataset=folder there may be no training set."""
    if config.dataset.option == OPTION:
        looked_at = getattr(config, "splits", None) or [getattr(config, "split", "gallery")]
        split = "train" if "train" in looked_at else "gallery"
        return _files(config).command("extract/build_vocabulary.py", split=split)
    where = shell_word(word("data_root", data_root(config)))
    name = f"desc_name={config.desc_name} {where}"
    return f"python extract/build_vocabulary.py dataset=<training set> {name}"


def chosen_splits(config: Splits) -> list[str]:
    """`splits=`. Raises ConfigError for none."""
    check_config(config.splits, "splits=[]", f"some of {', '.join(SPLITS)}")
    return list(config.splits)


def run_prefix(config: Data, command_name: str) -> str:
    """The beginning of the names of a command's run directories, without output_dir=."""
    return "_".join([command_name, config.dataset.option, config.desc_name])


def stamped_dir(name: str) -> Path:
    """runs/<name>_<time>, which does not exist yet."""
    stamped = f"{name}_{datetime.now():%Y%m%d-%H%M%S}"
    others = (f"{stamped}-{number}" for number in count(2))  # of the same second
    found = (Path("runs") / each for each in chain([stamped], others))
    return next(folder for folder in found if not folder.exists())


def run_dir(config: Run, name: str, last: str) -> Path:
    """The run directory, with the configuration in it: output_dir=, or runs/<name>_<time>. last:
    the file that a run writes last. output_dir= is new, or of a run of the same configuration that
    was interrupted, which goes on. Raises BadInput where it is in use.
    """
    folder = config.output_dir or stamped_dir(name)
    if not was_interrupted(folder, config, last):
        refuse_used(folder, last)
        with explain_write_errors(folder):
            folder.mkdir(parents=True, exist_ok=True)
    write_settings(folder, config)
    log_to(folder / "run.log")
    return folder


def was_interrupted(folder: Path, config: Run, last: str) -> bool:
    """Whether a run of this configuration was begun there and has not written its last file."""
    same = settings_of(folder) == plain_settings(as_dict(config))
    return same and not (folder / last).is_file()


def settings_of(folder: Path) -> dict[str, Any] | None:
    """The configuration of the run there, but for keys that make no other run; None: no run."""
    try:
        written = yaml.safe_load((folder / "config.yaml").read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError):
        return None
    return plain_settings(written) if isinstance(written, dict) else None


def plain_settings(config: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in config.items() if key not in OF_NO_RUN}


def write_settings(folder: Path, config: Any) -> None:
    """config.yaml, all keys, and overrides.yaml, those that are not the defaults."""
    for name, content in (("config", as_dict(config)), ("overrides", given_words(config))):
        text = yaml.safe_dump(content, sort_keys=False, allow_unicode=True)
        with replacing(folder / f"{name}.yaml", overwrite=True) as partial:
            partial.write_text(text, encoding="utf-8")


def refuse_used(folder: Path, last: str) -> None:
    """Raises BadInput where a run directory holds more than Hydra's files of this run."""
    there = folder.iterdir() if folder.is_dir() else ()
    used = folder.is_file() or any(p.name[0] != "." and p.suffix != ".log" for p in there)
    expected = "an empty or new folder: a run never overwrites another"
    what, remedy = "the run directory is in use", "give another output_dir="
    if (folder / last).is_file():
        what, shown = "the run has ended", word("results", [str(folder.absolute())])
        remedy += f"; to see it: python scripts/compare.py {shown}" * (last == RESULTS)
    require(not used, what, where=folder.absolute(), expected=expected, remedy=remedy)


def as_list(value: Any) -> list[Any]:
    return list(value) if isinstance(value, list) else [value]


def print_table(header: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    lines = [list(header), *([_cell(value) for value in row] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    for line in [lines[0], ["-" * width for width in widths], *lines[1:]]:
        cells = [text.rjust(width) for text, width in zip(line, widths, strict=True)]
        cells[0] = line[0].ljust(widths[0])
        print("  ".join(cells).rstrip())


def _cell(value: object) -> str:
    if value is None:
        return "-"
    return f"{value:.4f}" if isinstance(value, float) else str(value)
