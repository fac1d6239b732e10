"""Several data sets in one table, and their mean, in which each counts once.

Input: blocks of `comparison.compare`, one a data set. Output: one more block; text. Figures are in
points (per cent); a difference of means has no interval, as sets are no sample of anything; a
metric that a set does not have is a dash.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from ames_lite.errors import BadInput
from ames_lite.evaluation.comparison import Block, Difference, Line
from ames_lite.evaluation.comparison_table import difference_cells, metric_cell, notes_of
from ames_lite.evaluation.significance import Spread

LEFT = (0, 1, 5)  # columns of words


def mean_block(blocks: Sequence[Block]) -> Block | None:
    """The mean over sets, line by line; None where they have other metrics or other lines."""
    first = blocks[0]
    alike = {(block.metric, *_shape(block)) for block in blocks}
    if len(blocks) < 2 or len(alike) > 1:
        return None
    lines = tuple(_mean(lines) for lines in zip(*(b.lines for b in blocks), strict=True))
    counted = None if len({block.counted for block in blocks}) > 1 else first.counted
    return Block(f"mean of {len(blocks)} sets", first.metric, first.baseline, lines, counted)


def _shape(block: Block) -> tuple[object, ...]:
    return tuple((line.name, tuple(line.metrics)) for line in block.lines)


def _mean(lines: Sequence[Line]) -> Line:
    metrics = {}
    for name in lines[0].metrics:
        found = [value.mean for line in lines if (value := line.metrics[name]) is not None]
        whole = len(found) == len(lines)
        metrics[name] = Spread(float(np.mean(found)), float("nan"), 1) if whole else None
    changes = [line.difference.value for line in lines if line.difference is not None]
    difference = Difference(float(np.mean(changes))) if len(changes) == len(lines) else None
    return Line(
        name=lines[0].name,
        model=_joined(line.model for line in lines),
        num_rerank=_joined(line.num_rerank for line in lines),
        lamb=_joined(line.lamb for line in lines),
        temp=_joined(line.temp for line in lines),
        role=_joined(line.role for line in lines),
        metrics=metrics,
        difference=difference,
    )


def _joined(values: Iterable[str]) -> str:
    return "/".join(dict.fromkeys(values))


def one_table(
    blocks: Sequence[Block], columns: Sequence[str] | None = None, *, markdown: bool = False
) -> str:
    """All blocks, then their mean where they have one, as one table that ends in a newline.

    Below it stands what its metrics and differences are. columns: the metrics that are shown; None:
    all but precisions at k. Raises BadInput for a metric that no block has.
    """
    shown = _shown(blocks, columns)
    mean = mean_block(blocks)
    metrics = list(dict.fromkeys(block.metric for block in blocks))
    header = ["set", "", "num_rerank", "λ", "γ", "role", *shown]
    header += [f"Δ {'/'.join(metrics)}", "[low, high]", "p"]
    rows = [
        _row(block, at, line, shown)
        for block in (*blocks, *([mean] if mean is not None else []))
        for at, line in enumerate(block.lines)
    ]
    return (_markdown if markdown else _text)([header, *rows], _notes(blocks, shown))


def _shown(blocks: Sequence[Block], columns: Sequence[str] | None) -> list[str]:
    known = list(dict.fromkeys(name for block in blocks for name in block.lines[0].metrics))
    unknown = [name for name in columns or () if name not in known]
    if unknown:
        raise BadInput(f"no set has the metric '{unknown[0]}'", expected=", ".join(known))
    if columns is not None:
        return list(columns)
    return [name for name in known if not name.startswith("mp@")]


def _notes(blocks: Sequence[Block], shown: Sequence[str]) -> list[str]:
    """What is said below one block, of all together."""
    metric, counted = (
        "/".join(dict.fromkeys(text for text in found if text is not None))
        for found in ([block.metric for block in blocks], [block.counted for block in blocks])
    )
    lines = tuple(line for block in blocks for line in block.lines)
    return notes_of(Block("all", metric, blocks[0].baseline, lines, counted or None), shown)


def _row(block: Block, at: int, line: Line, shown: Sequence[str]) -> list[str]:
    settings = [line.name, line.num_rerank, line.lamb, line.temp, line.role]
    values = [metric_cell(line.metrics.get(name)) for name in shown]
    return ["" if at else block.dataset, *settings, *values, *difference_cells(line.difference)]


def _text(cells: list[list[str]], notes: Sequence[str]) -> str:
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    lines = []
    for number, row in enumerate(cells):
        if number and row[0]:
            lines.append("")  # between sets
        pairs = enumerate(zip(row, widths, strict=True))
        texts = (text.ljust(w) if i in LEFT else text.rjust(w) for i, (text, w) in pairs)
        lines.append("  ".join(texts).rstrip())
    return "\n".join([*lines, "", *(f"  {note}" for note in notes), ""])


def _markdown(cells: list[list[str]], notes: Sequence[str]) -> str:
    rows = [[text.replace("|", "\\|") for text in row] for row in cells]
    rows.insert(1, ["---" if i in LEFT else "---:" for i in range(len(cells[0]))])
    lines = [f"| {' | '.join(row)} |" for row in rows]
    return "\n".join([*lines, "", *(f"- {note}" for note in notes), ""])
