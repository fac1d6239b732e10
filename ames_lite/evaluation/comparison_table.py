"""A comparison as text: columns, Markdown, LaTeX (in points, per cent) or CSV (fractions). Nothing
is set in bold or sorted: no row is picked here.
"""

import io
import math
import re
from collections.abc import Callable, Sequence
from itertools import chain

from ames_lite.errors import require
from ames_lite.evaluation.comparison import Block, Difference, Line, mean_block
from ames_lite.evaluation.protocols import footnotes
from ames_lite.evaluation.significance import Spread
from ames_lite.io.writing import csv_writer

SETTINGS = ("num_rerank", "λ", "γ", "role")
WORDS = (0, 1, 5)  # columns of words, set to the left
UNDEFINED = "-"
Cells = list[list[str]]  # the header, then the rows


def render(blocks: Sequence[Block], form: str, columns: Sequence[str] | None = None) -> str:
    """The text of a comparison. columns: metrics (None: all but mp@k, in CSV all). BadInput."""
    require(form in FORMS, f"no form '{form}'", ", ".join(FORMS))
    shown = [_shown([block], columns) for block in blocks]
    if form == "csv":
        return _csv(blocks, columns)
    texts = []
    for block, names in zip(blocks, shown, strict=True):
        cells = [["name", "model", *_header([block], names)]]
        cells += [[line.name, line.settings["model"], *_row(line, names)] for line in block.lines]
        cells = [[*map(_one_line, row)] for row in cells]
        texts.append(WRITERS[form](_one_line(block.dataset), cells, notes_of([block], names)))
    return "\n".join(texts)


def one_table(
    blocks: Sequence[Block], columns: Sequence[str] | None = None, *, markdown: bool = False
) -> str:
    """All blocks, then their mean where they have one, as one table; columns: as of `render`."""
    names, mean = _shown(blocks, columns), mean_block(blocks)
    cells = [["set", "", *_header(blocks, names)]]
    for block in (*blocks, *([mean] if mean is not None else [])):
        for at, line in enumerate(block.lines):
            cells.append(["" if at else block.dataset, line.name, *_row(line, names)])
    cells = [[*map(_one_line, row)] for row in cells]
    return (_markdown if markdown else _text)("", cells, notes_of(blocks, names))


def _one_line(text: str) -> str:
    return " ".join(text.splitlines())


def notes_of(blocks: Sequence[Block], shown: Sequence[str]) -> list[str]:
    """What a reader of a table of these blocks must know."""
    counted = "/".join(dict.fromkeys(one.counted for one in blocks if one.counted is not None))
    notes = ["metrics in points (per cent)", *footnotes(shown, counted or None)]
    baseline = blocks[0].baseline
    against = "the global ranking" if baseline == "global" else baseline
    lines = [line for block in blocks for line in block.lines]
    found = [line.difference for line in lines if line.difference is not None]
    paired = [one.interval.counted for one in found if one.interval is not None]
    if found:
        notes.append(f"Δ: {_metrics(blocks)} minus that of {against}, in points")
    if paired:
        few, many = min(paired), max(paired)
        number = str(few) if few == many else f"{few} to {many}"
        notes.append(
            f"[low, high]: 95 % interval of Δ, paired bootstrap over the {number} queries that "
            "count; p: sign-flip test over them, two-sided, not corrected for the number of rows"
        )
    if len(paired) < len(found):
        notes.append("Δ without interval: results hold average precision per query of first rows")
    if any("oracle" in line.settings["role"] for line in lines):
        notes.append("oracle: one of several settings tried on this set; the best is no result")
    if any(one.runs > 1 for line in lines for one in line.metrics.values() if one):
        notes.append("±: sample standard deviation over runs; Δ is of their mean, query by query")
    return notes


def _metrics(blocks: Sequence[Block]) -> str:
    return "/".join(dict.fromkeys(block.metric for block in blocks))


def _shown(blocks: Sequence[Block], columns: Sequence[str] | None) -> list[str]:
    known = list(dict.fromkeys(chain(*(block.lines[0].metrics for block in blocks))))
    if columns is None:
        metrics = {block.metric for block in blocks}
        return [name for name in known if not name.startswith("mp@") or name in metrics]
    sets = ", ".join(block.dataset for block in blocks)
    for name in columns:
        require(name in known, f"no metric '{name}' of {sets}", ", ".join(known))
    return list(columns)


def _header(blocks: Sequence[Block], shown: Sequence[str]) -> list[str]:
    return [*SETTINGS, *shown, f"Δ {_metrics(blocks)}", "[low, high]", "p"]


def _row(line: Line, shown: Sequence[str]) -> list[str]:
    metrics = (_metric_cell(line.metrics.get(name)) for name in shown)
    _, *settings = line.settings.values()  # the model stands apart
    return [*settings, *metrics, *_difference_cells(line.difference)]


def _points(value: float, sign: str = "") -> str:
    return f"{100 * value:{sign}.2f}"


def _metric_cell(spread: Spread | None) -> str:
    if spread is None:
        return UNDEFINED
    deviation = f" ± {_points(spread.std)}" if spread.runs > 1 else ""
    return _points(spread.mean) + deviation


def _difference_cells(difference: Difference | None) -> list[str]:
    if difference is None:
        return [UNDEFINED] * 3
    interval, p = UNDEFINED, UNDEFINED
    if difference.interval is not None:
        low, high = (_points(end, "+") for end in difference.interval[1:3])
        interval = f"[{low}, {high}]"
    if difference.p is not None:
        p = f"{difference.p:.4f}" if difference.p >= 0.0001 else "<0.0001"
    return [_points(difference.value, "+"), interval, p]


def _text(title: str, cells: Cells, notes: Sequence[str]) -> str:
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    lines = [
        "  ".join(
            text.ljust(width) if i in WORDS else text.rjust(width)
            for i, (text, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in [cells[0], ["-" * width for width in widths], *cells[1:]]
    ]
    head = [title, ""] if title else []
    return "\n".join([*head, *lines, "", *(f"  {note}" for note in notes), ""])


def _markdown(title: str, cells: Cells, notes: Sequence[str]) -> str:
    rows = [[text.replace("|", "\\|") for text in row] for row in cells]
    rows.insert(1, ["---" if i in WORDS else "---:" for i in range(len(rows[0]))])
    lines = [f"| {' | '.join(row)} |" for row in rows]
    head = [f"**{title}**", ""] if title else []
    return "\n".join([*head, *lines, "", *(f"- {note}" for note in notes), ""])


_TEX = {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"}
_TEX |= {char: f"\\{char}" for char in "&%$#_{}"}
_TEX |= {"λ": r"$\lambda$", "γ": r"$\gamma$", "Δ": r"$\Delta$", "±": r"$\pm$", "<": "$<$"}


def _tex(text: str) -> str:
    if re.fullmatch(r"[+-]\d[\d.]*", text):
        return f"${text[0]}${text[1:]}"
    return "".join(_TEX.get(char, char) for char in text)


def _latex(title: str, cells: Cells, notes: Sequence[str]) -> str:
    """A booktabs table; the notes are comments above it."""
    header, *body = (f"{' & '.join(map(_tex, row))} \\\\" for row in cells)
    align = "".join("l" if i in WORDS else "r" for i in range(len(cells[0])))
    lines = [f"% {note}" for note in (title, *notes)]
    lines += [f"\\begin{{tabular}}{{{align}}}", "\\toprule", header, "\\midrule", *body]
    return "\n".join([*lines, "\\bottomrule", "\\end{tabular}", ""])


def _csv(blocks: Sequence[Block], columns: Sequence[str] | None) -> str:
    """One table of all blocks; a metric that a data set does not have stays empty."""
    names = columns or list(dict.fromkeys(chain(*(block.lines[0].metrics for block in blocks))))
    out = io.StringIO()
    writer = csv_writer(out)
    settings = ("dataset", "name", "model", "num_rerank", "lamb", "temp", "role", "runs")
    found = ("baseline", "metric", "difference_points", "low_points", "high_points", "p")
    writer.writerow((*settings, *chain(*((name, f"{name}_std") for name in names)), *found))
    for block in blocks:
        for line in block.lines:
            runs = max((one.runs for one in line.metrics.values() if one), default=1)
            spreads = (line.metrics.get(name) or (None, None) for name in names)
            writer.writerow(
                [block.dataset, line.name, *line.settings.values()]
                + [runs, *(_exact(value) for one in spreads for value in one[:2])]
                + [block.baseline, block.metric, *map(_exact, _points_and_p(line.difference))]
            )
    return out.getvalue()


def _exact(value: float | None) -> str:
    return "" if value is None or math.isnan(value) else repr(float(value))


def _points_and_p(difference: Difference | None) -> list[float | None]:
    if difference is None:
        return [None] * 4
    ends = difference.interval[1:3] if difference.interval else (None, None)
    points = (None if value is None else 100 * value for value in (difference.value, *ends))
    return [*points, difference.p]


Writer = Callable[[str, Cells, Sequence[str]], str]  # of a title, cells and notes
WRITERS: dict[str, Writer] = {"table": _text, "markdown": _markdown, "latex": _latex}
FORMS = (*WRITERS, "csv")  # a CSV is one table of all blocks
