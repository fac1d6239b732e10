"""The command line: composes configurations, checks them, calls the stages, explains errors.

COMMANDS is the visible dict of all commands; a function is loaded when it is called. A command, its
script, its configuration in conf/ and its file here share one name.
"""

import inspect
import io
import os
import shutil
import sys
import textwrap
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import NoReturn

COMMANDS = {
    "extract_descriptors": "ames_lite.cli.extract_descriptors:main",
    "merge_hdf5": "ames_lite.cli.merge_hdf5:main",
    "append_distractors": "ames_lite.cli.append_distractors:main",
    "fit_binarization": "ames_lite.cli.fit_binarization:main",
    "build_vocabulary": "ames_lite.cli.build_vocabulary:main",
    "extract_globals": "ames_lite.cli.extract_globals:main",
    "fit_whitening": "ames_lite.cli.fit_whitening:main",
    "prepare_topk_global": "ames_lite.cli.prepare_topk_global:main",
    "train_detector": "ames_lite.cli.train_detector:main",
    "prepare_dataset": "ames_lite.cli.prepare_dataset:main",
    "prepare_set": "ames_lite.cli.prepare_set:main",
    "check_store": "ames_lite.cli.check_store:main",
    "train": "ames_lite.cli.train:main",
    "tune": "ames_lite.cli.tune:main",
    "evaluate": "ames_lite.cli.evaluate:main",
    "compare": "ames_lite.cli.compare:main",
    "failures": "ames_lite.cli.failures:main",
    "place_recognition": "ames_lite.cli.place_recognition:main",
    "search": "ames_lite.cli.search:main",
    "demo": "ames_lite.cli.demo:main",
    # shorter words for `ames`
    "extract": "ames_lite.cli.extract_descriptors:main",
    "globals": "ames_lite.cli.extract_globals:main",
    "neighbors": "ames_lite.cli.prepare_topk_global:main",
    "index": "ames_lite.cli.search:index",
}
HELP_COLUMN = 32  # where the meaning of a key begins
HYDRA_FLAGS = ("-m", "--multirun", "-i", "--info", "-c", "--cfg", "-sc", "--shell-completion")


def run(name: str, words: Sequence[str]) -> int:
    """Run a command of COMMANDS on `key=value` words; returns its exit code."""
    module, _, function = COMMANDS[name].partition(":")
    print_any_text()
    if asks_help(words):  # before any import that takes a second
        print_help(module.rpartition(".")[2])
        return 0
    words = with_config_dir(words)
    if any(map(is_for_hydra, words)):
        code: int = import_module("ames_lite.cli.sweeps").main(module.rpartition(".")[2], words)
    else:
        code = getattr(import_module(module), function)(words)
    return code


def with_config_dir(words: Sequence[str]) -> list[str]:
    """The words without --config-dir, which becomes AMES_CONFIG_DIR; --config-name= as one word."""
    rest, kept = list(words), []
    while rest:
        flag, equals, value = rest.pop(0).partition("=")
        if flag in ("-cd", "--config-dir", "-cn", "--config-name"):
            value = value or (rest.pop(0) if rest else "")
            if not value:
                kept.append(flag)
            elif flag in ("-cd", "--config-dir"):
                os.environ["AMES_CONFIG_DIR"] = str(Path(value).expanduser().absolute())
            else:
                kept.append(f"--config-name={value}")
        else:
            kept.append(flag + equals + value)
    return kept


def is_for_hydra(word: str) -> bool:
    """Whether a word is a flag or a setting of Hydra itself: -m, --info, hydra/launcher=…"""
    return word.partition("=")[0] in HYDRA_FLAGS or word.startswith(("hydra.", "hydra/"))


def asks_help(words: Sequence[str]) -> bool:
    """Whether -h or --help is among them."""
    return any(word in ("-h", "--help") for word in words)


def print_any_text() -> None:
    """Let the output streams take every character: what their encoding lacks is written as \\x….

    Names of files may hold anything, and a stream may be ASCII (LANG=C, a pipe on Windows).
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def print_help(name: str) -> None:
    """What a command does; every key, its default and what it means."""
    from ames_lite.cli.schema import SCHEMAS, help_of

    columns = shutil.get_terminal_size((100, 24)).columns
    print(f"usage: {name} key=value …\n\n{inspect.getdoc(SCHEMAS[name])}\n")
    for key, default, meaning in help_of(name):
        indent = " " * HELP_COLUMN
        typed = f"{key}={default}" if default else key
        print(typed.ljust(HELP_COLUMN - 1) + " " * bool(meaning), end="")
        width = max(40, columns - HELP_COLUMN)
        lines = textwrap.wrap(meaning, width, break_on_hyphens=False) or [""]
        print(f"\n{indent}".join(lines))


def run_script(path: str) -> NoReturn:
    """Run the command that a script is named like, on the words it was given, and exit."""
    sys.exit(run(Path(path).stem, sys.argv[1:]))


def main() -> int:
    """`ames <command> key=value …`, also as `python -m ames_lite`."""
    name, *words = sys.argv[1:] or ["--help"]
    if name in COMMANDS:
        return run(name, words)
    if name in ("-h", "--help"):
        print(f"usage: ames <command> [--help] [key=value …]\n\ncommands: {', '.join(COMMANDS)}")
        return 0
    known = ", ".join(COMMANDS)
    print(f"error: there is no command '{name}'\n  expected: one of {known}", file=sys.stderr)
    return 1
