"""The commands and their keys as Markdown, from conf/*.yaml and its comments (`make docs`).

Needs the standard library alone, so that the documentation is built without torch.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from ames_lite.cli import COMMANDS

ROOT = Path(__file__).resolve().parents[1]
CONF = ROOT / "conf"
GROUPS = sorted(path.name for path in CONF.iterdir() if path.is_dir())
LINE = re.compile(
    r"(?P<indent>(?: |- )*)(?P<key>[\w/ ]+):(?: (?P<value>.*?))??(?:  # (?P<note>.*))?"
)
TABLE = ["", "| key | default | meaning |", "|---|---|---|"]
HEAD = """# Commands

Generated from `conf/`. `key=value` overrides a default, and `--help` prints the same keys. Commands
run from any directory: `python scripts/<name>.py` of a checkout, or `ames <name>` where the package
is installed. Unknown keys, values of a wrong type and unknown names are errors that list the valid
ones. Exit codes: 0 success, 1 error, 3 a check found faults, 4 a reproduction outside its
tolerance, 128 + signal after an interrupt. `AMES_DEBUG=1` shows the traceback of an error.
"""


class Key(NamedTuple):
    """One key of a configuration; nested keys are joined by dots."""

    name: str
    default: str
    meaning: str


def description(lines: list[str]) -> str:
    """The comment at the beginning of a YAML file, as one line."""
    first = next((i for i, line in enumerate(lines) if not line.startswith("#")), len(lines))
    return " ".join(line.lstrip("# ") for line in lines[:first] if "@package" not in line)


def parts(lines: list[str]) -> Iterator[Key | str]:
    """The keys in order, and the comments on lines of their own; indented: of the key above."""
    parents: list[tuple[int, str]] = []
    for line in lines:
        if line.lstrip().startswith("#"):
            yield line.replace("# ", "", 1)
        elif found := LINE.fullmatch(line):
            indent, key = len(found["indent"]), found["key"].removeprefix("override /")
            parents = [(depth, name) for depth, name in parents if depth < indent]
            parents.append((indent, key))
            names = [name for _, name in parents if name != "defaults"]
            if names and (found["value"] or found["note"]):
                yield Key(".".join(names), found["value"] or "", found["note"] or "")


def table(lines: list[str]) -> list[str]:
    """The keys as tables, with the comments between them as paragraphs."""
    rows: list[str] = []
    for part in parts(lines):
        in_table = bool(rows) and rows[-1].startswith("|")
        if isinstance(part, Key):
            default = f"`{part.default}`" if part.default else ""
            rows += [] if in_table else TABLE
            meaning = part.meaning or ("a value below" if part.name in GROUPS else "")
            rows.append(f"| `{part.name}` | {default} | {_escaped(meaning)} |")
        elif in_table and part.startswith(" "):
            rows[-1] = f"{rows[-1].removesuffix(' |')} {_escaped(part.strip())} |"
        else:
            rows += ["", _escaped(part)] if in_table else [_escaped(part)]
    return rows


def section(path: Path) -> str:
    """A command: its call, what it does, its keys."""
    name, lines = path.stem, path.read_text(encoding="utf-8").splitlines()
    folder = next(one for one in ("extract", "scripts") if (ROOT / one / f"{name}.py").is_file())
    calls = [f"python {folder}/{name}.py"]
    calls += [
        f"ames {one}" for one, at in COMMANDS.items() if at.startswith(f"ames_lite.cli.{name}:")
    ]
    said = description(lines)
    what = said[said.index(": ") + 2 :] if ": " in said else said
    body = lines[next(i for i, line in enumerate(lines) if not line.startswith("#")) :]
    head = [f"## {name}", "", " · ".join(f"`{call}`" for call in calls), ""]
    return "\n".join([*head, _escaped(what[:1].upper() + what[1:]), *table(body), ""])


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
    """The whole page, commands in the order of COMMANDS and then those that are not installed."""
    order = list(COMMANDS)
    paths = {path.stem: path for path in sorted(CONF.glob("*.yaml"))}
    names = sorted(paths, key=lambda name: order.index(name) if name in order else len(order))
    return "\n".join([HEAD, *(section(paths[name]) for name in names), *map(group_section, GROUPS)])


if __name__ == "__main__":
    sys.stdout.write(page())
