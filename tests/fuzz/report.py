"""The table of RELIABILITY.md, from the counts of a run.

python -m tests.fuzz.report counts.json [RELIABILITY.md]
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Mapping
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


def put(text: str, report: Mapping[str, Any]) -> str:
    """The text with the table between its marks."""
    between = re.compile(f"{re.escape(BEGIN)}.*{re.escape(END)}", re.DOTALL)
    return between.sub(lambda _: f"{BEGIN}\n{table(report)}\n{END}", text)


def main() -> None:
    """See the head of the file."""
    path = Path(sys.argv[2] if len(sys.argv) > 2 else "RELIABILITY.md")
    path.write_text(
        put(path.read_text("utf-8"), json.loads(Path(sys.argv[1]).read_text())), "utf-8"
    )


if __name__ == "__main__":
    main()
