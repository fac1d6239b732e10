"""A comparison as text: columns, Markdown, LaTeX or CSV.

Input: blocks of `comparison.compare`. Output: text. Metrics and differences are printed in points
(per cent), but for CSV, where metrics are the fractions of results.json at full precision; nothing
is set in bold and nothing is sorted, as no row is picked here; below each table stand the
definitions of its metrics and what its differences, roles and deviations mean.
"""

from __future__ import annotations

import csv
import io
import math
import re
from collections.abc import Callable, Sequence
from itertools import chain

from ames_lite.errors import BadInput
from ames_lite.evaluation.comparison import Block, Difference, Line
from ames_lite.evaluation.definitions import footnotes
from ames_lite.evaluation.significance import Spread

SETTINGS = ("name", "model", "num_rerank", "λ", "γ", "role")
UNDEFINED = "-"
Cells = list[list[str]]


def render(blocks: Sequence[Block], form: str, columns: Sequence[str] | None = None) -> str:
    """The text of a comparison, ending in a newline.

    form: of FORMS; columns: the metrics that are shown, None: all but precisions at k, and in CSV
    all. Raises BadInput for an unknown form or metric.
    """
    if form not in FORMS:
        raise BadInput(f"no form '{form}'", expected=", ".join(FORMS))
    for block in blocks:
        absent = [name for name in columns or () if name not in block.lines[0].metrics]
        if absent:
            known = ", ".join(block.lines[0].metrics)
            raise BadInput(f"{block.dataset} has no metric '{absent[0]}'", expected=known)
    if form == "csv":
        return _csv(blocks, columns)
    return "\n".join(FORMS[form](block, columns) for block in blocks)


def notes_of(block: Block, columns: Sequence[str] | None = None) -> list[str]:
    """What a reader of a block's table must know, one line each."""
    notes = ["metrics in points (per cent)", *footnotes(_shown(block, columns), block.counted)]
    against = "the global ranking" if block.baseline == "global" else block.baseline
    found = [line.difference for line in block.lines if line.difference is not None]
    tests = [one.test for one in found if one.test is not None]
    if found:
        notes.append(f"Δ: {block.metric} minus that of {against}, in points")
    if tests:
        few, many = min(one.counted for one in tests), max(one.counted for one in tests)
        counted = str(few) if few == many else f"{few} to {many}"
        notes.append(
            f"[low, high]: 95 % interval of Δ, paired bootstrap over the {counted} queries that "
            "count; p: sign-flip test over them, two-sided, not corrected for the number of rows"
        )
    if len(tests) < len(found):
        notes.append("Δ without interval: results hold average precision per query of first rows")
    roles = {line.role for line in block.lines}
    if any("oracle" in role for role in roles):
        notes.append("oracle: one of several settings tried on this set; the best is no result")
    runs = max(one.runs for line in block.lines for one in line.metrics.values() if one)
    if runs > 1:
        notes.append("±: sample standard deviation over runs; Δ is of their mean, query by query")
    return notes


def _shown(block: Block, columns: Sequence[str] | None) -> list[str]:
    if columns is not None:
        return list(columns)
    names = list(block.lines[0].metrics)
    return [name for name in names if not name.startswith("mp@") or name == block.metric]


def _points(value: float, sign: str = "") -> str:
    return f"{100 * value:{sign}.2f}"


def metric_cell(spread: Spread | None) -> str:
    """A metric in points, with its deviation over runs; a dash where it is undefined."""
    if spread is None:
        return UNDEFINED
    deviation = f" ± {_points(spread.std)}" if spread.runs > 1 else ""
    return _points(spread.mean) + deviation


def difference_cells(difference: Difference | None) -> list[str]:
    """Δ, its interval and its p, as text."""
    if difference is None:
        return [UNDEFINED] * 3
    interval, p = UNDEFINED, UNDEFINED
    if difference.interval is not None:
        low, high = (_points(end, "+") for end in difference.interval[1:3])
        interval = f"[{low}, {high}]"
    if difference.test is not None:
        p = f"{difference.test.p:.4f}" if difference.test.p >= 0.0001 else "<0.0001"
    return [_points(difference.value, "+"), interval, p]


def _cells(block: Block, columns: Sequence[str] | None) -> Cells:
    """Header and lines."""
    shown = _shown(block, columns)
    header = [*SETTINGS, *shown, f"Δ {block.metric}", "[low, high]", "p"]
    return [header, *(_line(line, shown) for line in block.lines)]


def _line(line: Line, shown: Sequence[str]) -> list[str]:
    settings = [line.name, line.model, line.num_rerank, line.lamb, line.temp, line.role]
    return [
        *settings,
        *(metric_cell(line.metrics[n]) for n in shown),
        *difference_cells(line.difference),
    ]


def _table(block: Block, columns: Sequence[str] | None) -> str:
    cells = _cells(block, columns)
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    cells.insert(1, ["-" * width for width in widths])
    left = (0, 1, 5)
    lines = [
        "  ".join(
            text.ljust(width) if i in left else text.rjust(width)
            for i, (text, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in cells
    ]
    notes = [f"  {note}" for note in notes_of(block, columns)]
    return "\n".join([block.dataset, "", *lines, "", *notes, ""])


def _markdown(block: Block, columns: Sequence[str] | None) -> str:
    cells = [[text.replace("|", "\\|") for text in row] for row in _cells(block, columns)]
    cells.insert(1, ["---" if i in (0, 1, 5) else "---:" for i in range(len(cells[0]))])
    lines = [f"| {' | '.join(row)} |" for row in cells]
    notes = [f"- {note}" for note in notes_of(block, columns)]
    return "\n".join([f"**{block.dataset}**", "", *lines, "", *notes, ""])


_TEX = {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"}
_TEX |= {char: f"\\{char}" for char in "&%$#_{}"}
_TEX |= {"λ": r"$\lambda$", "γ": r"$\gamma$", "Δ": r"$\Delta$", "±": r"$\pm$", "<": "$<$"}


def _tex(text: str) -> str:
    text = re.sub(r"^([+-])(?=\d)", r"$\1$", text) if re.fullmatch(r"[+-][\d.]+", text) else text
    if text.startswith("$"):
        return text
    return "".join(_TEX.get(char, char) for char in text)


def _latex(block: Block, columns: Sequence[str] | None) -> str:
    """A booktabs table; the notes are comments above it."""
    header, *rows = ([_tex(text) for text in row] for row in _cells(block, columns))
    align = "".join("l" if i in (0, 1, 5) else "r" for i in range(len(header)))
    body = [f"{' & '.join(row)} \\\\" for row in rows]
    return "\n".join(
        [
            *(f"% {note}" for note in (block.dataset, *notes_of(block, columns))),
            f"\\begin{{tabular}}{{{align}}}",
            "\\toprule",
            f"{' & '.join(header)} \\\\",
            "\\midrule",
            *body,
            "\\bottomrule",
            "\\end{tabular}",
            "",
        ]
    )


def _csv(blocks: Sequence[Block], columns: Sequence[str] | None) -> str:
    """One table of all blocks; a metric that a data set does not have stays empty."""
    names = columns or list(dict.fromkeys(chain(*(block.lines[0].metrics for block in blocks))))
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    settings = ("dataset", "name", "model", "num_rerank", "lamb", "temp", "role", "runs")
    found = ("baseline", "metric", "difference_points", "low_points", "high_points", "p")
    writer.writerow((*settings, *chain(*((name, f"{name}_std") for name in names)), *found))
    for block in blocks:
        for line in block.lines:
            spreads = [line.metrics.get(name) for name in names]
            runs = max((one.runs for one in line.metrics.values() if one), default=1)
            writer.writerow(
                [block.dataset, line.name, line.model, line.num_rerank, line.lamb, line.temp]
                + [line.role, runs]
                + [
                    _exact(value)
                    for one in spreads
                    for value in ((one[:2]) if one else (None,) * 2)
                ]
                + [block.baseline, block.metric, *_exact_difference(line.difference)]
            )
    return out.getvalue()


def _exact(value: float | None) -> str:
    return "" if value is None or math.isnan(value) else repr(float(value))


def _exact_difference(difference: Difference | None) -> list[str]:
    if difference is None:
        return [""] * 4
    ends = difference.interval[1:3] if difference.interval else (None, None)
    points = [None if value is None else 100 * value for value in (difference.value, *ends)]
    return [_exact(value) for value in (*points, difference.test and difference.test.p)]


FORMS: dict[str, Callable[[Block, Sequence[str] | None], str]] = {
    "table": _table,
    "markdown": _markdown,
    "latex": _latex,
    "csv": lambda block, columns: _csv([block], columns),
}
