"""The table of RELIABILITY.md, from the counts of one run or the sums of several.

python -m tests.fuzz.report counts.json …
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

COLUMNS = {
    "inputs": "inputs",
    "refused": "refused",
    "same": "same",
    "other": "other",
    "silent": "silent",
    "unnamed": "unnamed",
    "traceback": "traceback",
    "crash": "crash",
    "hang": "hang",
    "memory": "memory",
    "peak_mib": "peak MiB",
}
BEGIN, END = "<!-- fuzz: begin -->", "<!-- fuzz: end -->"


def table(report: Mapping[str, Any]) -> str:
    """Markdown: a line for each kind, files with checksums first, and the sums."""
    kinds = sorted(report["kinds"].items(), key=lambda item: (not item[1]["ours"], item[0]))
    lines = [["kind", "checksums", *COLUMNS.values()], ["---", "---", *["---:"] * len(COLUMNS)]]
    for ours in (True, False):
        group = {name: found for name, found in kinds if found["ours"] is ours}
        for name, found in group.items():
            lines.append([name, "yes" if ours else "", *_cells(found)])
        said = "all with checksums" if ours else "all without"
        lines.append([f"**{said}**", "yes" if ours else "", *_cells(_sum([*group.values()]))])
    lines.append(["**all**", "", *_cells(_sum([found for _, found in kinds]))])
    rows = "\n".join(f"| {' | '.join(line)} |" for line in lines)
    minutes = round(report["seconds"] / 60)
    return f"{report['date']}, `{report['command']}`, {minutes} minutes:\n\n{rows}"


def _sum(found: list[dict[str, Any]]) -> dict[str, int]:
    how = {key: max if key == "peak_mib" else sum for key in COLUMNS}
    return {key: combine([one[key] for one in found] or [0]) for key, combine in how.items()}


def _cells(found: Mapping[str, Any]) -> list[str]:
    return [f"{found[key]:,}".replace(",", " ") for key in COLUMNS]


def together(reports: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """One report of several runs."""
    found: dict[str, list[dict[str, Any]]] = {}
    for report in reports:
        for name, one in report["kinds"].items():
            found.setdefault(name, []).append(one)
    kinds = {name: {"ours": some[0]["ours"], **_sum(some)} for name, some in found.items()}
    commands = dict.fromkeys(report["command"] for report in reports)
    return {
        "date": max(report["date"] for report in reports),
        "command": "`, `".join(commands),
        "seconds": sum(report["seconds"] for report in reports),
        "kinds": kinds,
    }


def put(text: str, report: Mapping[str, Any]) -> str:
    """The text with the table between its marks."""
    between = re.compile(f"{re.escape(BEGIN)}.*{re.escape(END)}", re.DOTALL)
    return between.sub(lambda _: f"{BEGIN}\n{table(report)}\n{END}", text)


def main() -> None:
    """See the head of the file."""
    path = Path("RELIABILITY.md")
    reports = [json.loads(Path(name).read_text()) for name in sys.argv[1:]]
    path.write_text(put(path.read_text("utf-8"), together(reports)), "utf-8")


if __name__ == "__main__":
    main()
