"""`python scripts/render_route.py`: a rendered street in the common place recognition format.

Input: role, seed and lengths. Output: data_root/synthetic-route (or -val for role=val) with
`database/` and `queries/`; `scripts/prepare_set.py` reads it as it reads any set of that format.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ames_lite.cli.shell import command, data_root
from tools.route.route import RouteSpec, render_route
from tools.schema import RenderRoute

FOLDERS = {"test": "synthetic-route", "val": "synthetic-route-val"}
LENGTHS = ("length", "gallery_step", "query_begin", "query_end", "query_step")


def main(overrides: Sequence[str] | None = None) -> int:
    """The command."""
    return command("render_route", run, overrides)


def run(config: RenderRoute) -> Path:
    """Render; returns the folder of the set."""
    role = config.role
    lengths: dict[str, Any] = {key: float(getattr(config, key)) for key in LENGTHS}
    spec = RouteSpec(role, config.seed, **lengths)
    folder = render_route(spec, data_root(config) / FOLDERS[role], config.workers)
    root = data_root(config)
    print(f"rendered: {folder}")
    print(f"next:     python scripts/prepare_set.py dataset={FOLDERS[role]} data_root={root}")
    return folder
