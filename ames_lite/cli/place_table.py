"""The table of place_recognition: each set by its global ranking, then by every reranker.

table.csv has every metric at full precision, table.md and the terminal what columns= names; sets
and rerankers that were left out stand below.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ames_lite.cli.place_plan import Place, Plan
from ames_lite.cli.prepare_set import UNVERIFIED
from ames_lite.cli.shell import as_list
from ames_lite.evaluation.comparison import Block, Entry, compare
from ames_lite.evaluation.comparison_sets import one_table
from ames_lite.evaluation.comparison_table import render
from ames_lite.evaluation.results_file import read_results


def block_of(plan: Plan, place: Place, files: Mapping[str, Path]) -> Block:
    """The lines of a set. files: results.json by reranker."""
    label = f"{plan.config['global']} of {plan.global_desc_name}"
    entries = []
    for name, path in files.items():
        results = dict(read_results(path))
        results["config"] = {**results["config"], "neighbors": label}  # instead of a path
        entries.append(Entry(name, (str(path),), (results,)))
    asked = plan.config["metric"]
    known = entries[0].runs[0]["global"]
    metric = asked if asked in known else None
    return compare(entries, metric=metric, seed=plan.config["seed"])[0]


def write_tables(
    plan: Plan, blocks: Sequence[Block], left_out: Mapping[str, str], folder: Path
) -> str:
    """Write both files; returns the text for the terminal."""
    notes = notes_of(plan, left_out)
    columns = None if plan.config["columns"] is None else as_list(plan.config["columns"])
    listed = "\n".join(f"- {note}" for note in notes)
    markdown = one_table(blocks, columns, markdown=True)
    (folder / "table.md").write_text(f"{markdown}{listed}\n", encoding="utf-8")
    (folder / "table.csv").write_text(render(blocks, "csv"), encoding="utf-8")
    return "\n".join([one_table(blocks, columns), *notes])


def notes_of(plan: Plan, left_out: Mapping[str, str]) -> list[str]:
    """What a reader must know beside the figures."""
    notes = [f"global: {plan.config['global']} of {plan.global_desc_name}"]
    notes += [f"left out: {name}: {why}" for name, why in (plan.left_out | dict(left_out)).items()]
    given = [name for name in plan.rerankers if _is_given(plan.config[name])]
    if given:
        notes.append(f"λ and γ are given, not chosen for these descriptors: {', '.join(given)}")
    unverified = [place.name for place in plan.places if place.dataset.get("unverified")]
    if unverified:
        notes.append(f"{UNVERIFIED}: {', '.join(unverified)}")
    return notes


def _is_given(own: Mapping[str, Any]) -> bool:
    return own["tuned"] is None and own["lamb"] is not None and own["temp"] is not None
