"""The commands and their keys as Markdown (`make docs`), as --help prints them.

Needs no torch, so that the documentation is built without it.
"""

from __future__ import annotations

import sys
from pathlib import Path

import benchmarks.schema  # noqa: F401
import tools.schema  # noqa: F401
from ames_lite.cli import COMMANDS
from ames_lite.cli.schema import SCHEMAS, help_of

ROOT = Path(__file__).resolve().parents[1]
CONF = ROOT / "conf"
GROUPS = sorted(path.name for path in CONF.iterdir() if path.is_dir())
HEAD = """# Commands

Generated from the keys that `--help` prints. `key=value` overrides a default. Commands
run from any directory: `python scripts/<name>.py` of a checkout, or `ames <name>` where the package
is installed. Unknown keys, values of a wrong type and unknown names are errors that list the valid
ones. Exit codes: 0 success, 1 error, 3 a check found faults, 4 a reproduction outside its
tolerance, 128 + signal after an interrupt. `AMES_DEBUG=1` shows the traceback of an error.
"""


def description(lines: list[str]) -> str:
    """The comment at the beginning of a YAML file, as one line."""
    first = next((i for i, line in enumerate(lines) if not line.startswith("#")), len(lines))
    return " ".join(line.lstrip("# ") for line in lines[:first] if "@package" not in line)


def section(name: str) -> str:
    """A command: its call, what it does, its keys."""
    folder = next(one for one in ("extract", "scripts") if (ROOT / one / f"{name}.py").is_file())
    calls = [f"python {folder}/{name}.py"]
    calls += [
        f"ames {one}" for one, at in COMMANDS.items() if at.startswith(f"ames_lite.cli.{name}:")
    ]
    what = " ".join(str(SCHEMAS[name].__doc__).split())
    rows = [f"## {name}", "", " · ".join(f"`{call}`" for call in calls), "", _escaped(what), ""]
    rows += ["| key | default | meaning |", "|---|---|---|"]
    for key, default, meaning in help_of(name):
        said = _escaped(meaning)
        if key in GROUPS:
            said = f"{said.rpartition('one of ')[0]}a value of [{key}=](#{key})"
        rows.append(f"| `{key}` | {default and f'`{default}`'} | {said} |")
    return "\n".join([*rows, ""])


def group_section(group: str) -> str:
    """The values of a group, each with what its file says of it."""
    rows = [f"## {group}=", "", "| value | description |", "|---|---|"]
    for path in sorted((CONF / group).glob("*.yaml")):
        said = description(path.read_text(encoding="utf-8").splitlines())
        rows.append(f"| `{path.stem}` | {_escaped(said)} |")
    return "\n".join([*rows, ""])


def _escaped(text: str) -> str:
    return text.replace("|", "\\|").replace("<", "&lt;").replace("*", "\\*")


def page() -> str:
    """The whole page, those commands last that are not installed."""
    return "\n".join([HEAD, *map(section, SCHEMAS), *map(group_section, GROUPS)])


if __name__ == "__main__":
    sys.stdout.write(page())
