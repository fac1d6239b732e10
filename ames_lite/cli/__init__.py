"""The command line: composes configurations, checks them, calls the stages, explains errors.
COMMANDS holds all commands; a function is loaded when it is called. A command, its script, its
configuration in conf/, its file here and, as ItsName, its dataclass in schema/ share one name.
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

from ames_lite.cli.schema import SCHEMAS, help_of

COMMANDS = {name: f"ames_lite.cli.{name}:run" for name in SCHEMAS} | {  # shorter words for `ames`
    "extract": "ames_lite.cli.extract_descriptors:run",
    "globals": "ames_lite.cli.extract_globals:run",
    "neighbors": "ames_lite.cli.prepare_topk_global:run",
    "import": "ames_lite.cli.import_features:run",
    "index": "ames_lite.cli.search:build_index",
}
PLAN = "plan"
HELP_COLUMN = 32  # where the meaning of a key begins
HYDRA_FLAGS = ("-m", "--multirun", "-i", "--info", "-c", "--cfg", "-sc", "--shell-completion")


def run(name: str, words: Sequence[str]) -> int:
    """Run a command of COMMANDS on `key=value` words; returns its exit code."""
    module, _, function = COMMANDS[name].partition(":")
    name = module.rpartition(".")[2]
    print_any_text()
    if asks_help(words):  # before any import that takes a second
        print_help(name)
        return 0
    if name == "classify" and words[:1] == ["predict"] and words[1:]:
        words = [f"predict={words[1]}", *words[2:]]
    words = with_config_dir(words)
    if any(map(is_for_hydra, words)):
        code: int = import_module("ames_lite.cli.sweeps").main(name, words)
    else:
        work = getattr(import_module(module), function)
        code = import_module("ames_lite.cli.shell").command(name, work, words)
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
    return any(word in ("-h", "--help") for word in words)


def print_any_text() -> None:
    """Let the output streams take every character: what their encoding lacks (ASCII with LANG=C, a
    pipe on Windows) is written as \\x…. Names of files may hold anything.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def print_help(name: str) -> None:
    """What a command does; every key, its default and what it means."""
    columns = shutil.get_terminal_size((100, 24)).columns
    print(f"usage: {name} key=value …\n\n{inspect.getdoc(SCHEMAS[name])}\n")
    for key, default, meaning in help_of(name):
        indent = " " * HELP_COLUMN
        typed = f"{key}={default}" if default else key
        print(typed.ljust(HELP_COLUMN - 1) + " " * bool(meaning), end="")
        width = max(40, columns - HELP_COLUMN)
        lines = textwrap.wrap(meaning, width, break_on_hyphens=False) or [""]
        print(f"\n{indent}".join(lines))


def run_script(path: str, module: str | None = None) -> NoReturn:
    """Run the command of a script's name, and exit. module: that has it where not installed."""
    if module is None:
        sys.exit(run(Path(path).stem, sys.argv[1:]))
    sys.path.insert(0, str(Path(path).resolve().parents[1]))
    sys.exit(import_module(module).main())


def main() -> int:
    """`ames <command> key=value …`, also as `python -m ames_lite`."""
    name, *words = sys.argv[1:] or ["--help"]
    known = COMMANDS
    if name == PLAN:  # ames plan train …: train … plan=true
        name, *words = [*(words or [""]), f"{PLAN}=true"]
        known = {one: path for one, path in COMMANDS.items() if _plans(path)}
    if name in known:
        return run(name, words)
    if name in ("-h", "--help"):
        print(f"usage: ames <command> [--help] [key=value …]\n\ncommands: {', '.join(COMMANDS)}")
        print(f"ames {PLAN} <command> …: what it would take, in time, disk and memory")
        return 0
    what = "command" if known is COMMANDS else "plan of the command"
    expected = f"  expected: one of {', '.join(known)}"
    print(f"error: there is no {what} '{name}'\n{expected}", file=sys.stderr)
    return 1


def _plans(path: str) -> bool:
    """Whether a command of COMMANDS can tell what it would take."""
    schema = SCHEMAS[path.partition(":")[0].rpartition(".")[2]]
    return path.endswith(":run") and hasattr(schema, PLAN)
