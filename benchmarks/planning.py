"""`plan=true` against the truth: the stages of a rendered world, planned and then run.

    python -m benchmarks.planning [<folder>]

Each plan and each run has a process of its own, so that peak memory is theirs; seconds are of the
work, after imports. A ratio is plan over truth: time, peak resident memory, bytes on disk.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from importlib import import_module
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from ames_lite.cli.compose import compose
from ames_lite.cli.shell import exit_code, print_table
from ames_lite.stores.row_writer import GlobalWriter
from ames_lite.synthetic import WorldSpec, render_world
from benchmarks.own_process import forget_peak, peak_mib

WORLDS = {
    "synthetic-train": WorldSpec("train", 0, 8, 5, queries=0, easy=4, hard=3, junk=0),
    "synthetic": WorldSpec("test", 0, 4, 4, queries=2, easy=4, hard=3, junk=1),
}
DESCRIBED = ["desc_name=efficientnet_lite0", "workers=1"]
OF_TRAINING = ["dataset=synthetic-train", "desc_name=efficientnet_lite0"]
OF_TEST = ["dataset=synthetic", "desc_name=efficientnet_lite0"]
MANY, MANY_DIM = (2000, 50000), 512
STAGES: dict[str, list[str]] = {  # in this order; each needs those before
    "extract_descriptors train": ["dataset=synthetic-train", *DESCRIBED, "splits=[train]"],
    "extract_descriptors test": ["dataset=synthetic", *DESCRIBED],
    "prepare_topk_global train": [*OF_TRAINING, "global=gem", "self_search=true"],
    "prepare_topk_global test": [*OF_TEST, "global=gem"],
    "prepare_topk_global many": [*OF_TEST, "global=gem", "num_neighbors=400"],
    "train": [
        *(*OF_TRAINING, "neighbors=gem", "model=ames", "val_dataset=null", "epochs=2"),
        *("batch_size=24", "batch_unit=triplets", "max_count=100", "min_each=2"),
    ],
    "evaluate": [*OF_TEST, "neighbors=gem", "model=ames", "num_rerank=100", "report_queries=0"],
}


def write_vectors(root: Path) -> None:
    """Unit vectors of a large search, as descriptors of the test set: MANY queries and gallery."""
    rng = np.random.default_rng(0)
    for side, count in zip(("query", "gallery"), MANY, strict=True):
        rows = rng.standard_normal((count, MANY_DIM), np.float32)
        rows /= np.linalg.norm(rows, axis=1, keepdims=True)
        names = [f"{side}/{row:06}.jpg" for row in range(count)]
        path = root / "synthetic" / f"efficientnet_lite0_{side}_gem.hdf5"
        path.parent.mkdir(parents=True, exist_ok=True)
        with GlobalWriter(path, names, MANY_DIM, {"global": "gem"}) as writer:
            writer.extend(names, rows)


def measure(root: Path, *, planned: bool, stage: str, words: list[str]) -> dict[str, float]:
    """Seconds, MiB and bytes of a plan or of the stage itself, of a process of its own."""
    asked = json.dumps({"planned": planned, "name": stage.split()[0], "words": words})
    command = [sys.executable, "-W", "ignore", "-m", __spec__.name if __spec__ else __name__, "-"]
    done = subprocess.run(command, input=asked, text=True, capture_output=True, cwd=root)
    if done.returncode:
        raise RuntimeError(f"{stage} ended with {done.stdout}{done.stderr}")
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def work(planned: bool, name: str, words: list[str]) -> dict[str, float]:
    """What a process does: plan, or run and be measured."""
    config = compose(name, words)
    planning, module = (import_module(f"ames_lite.cli.{one}") for one in ("planning", name))
    if planned:
        needs = planning.plan(name, config)
        seconds, disk = sum(one.seconds or 0 for one in needs), sum(one.disk for one in needs)
        return {"seconds": seconds, "mib": max(one.memory for one in needs), "bytes": disk}
    before = _bytes(config.data_root)
    forget_peak()
    began = time.perf_counter()
    module.run(config)
    seconds = time.perf_counter() - began
    return {"seconds": seconds, "mib": peak_mib(), "bytes": _bytes(config.data_root) - before}


def _bytes(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def main(root: Path) -> None:
    for name, spec in WORLDS.items():
        render_world(spec, root / name, name)
    write_vectors(root / "many")
    os.environ["PYTHONPATH"] = os.pathsep.join([str(Path.cwd()), os.environ.get("PYTHONPATH", "")])
    rows: list[list[object]] = []
    for stage, words in STAGES.items():
        given = [*words, f"data_root={root / 'many' if stage.endswith('many') else root}"]
        if stage in ("train", "evaluate"):
            given.append(f"output_dir={root / 'runs' / stage}")
        if stage == "evaluate":
            given += [f"weights={root / 'runs' / 'train'}", "lamb=0.5", "temp=0.2"]
        plan = measure(root, planned=True, stage=stage, words=given)
        truth = measure(root, planned=False, stage=stage, words=given)
        rows.append([stage, *_cells(plan, truth)])
        print(stage, *rows[-1][1:], flush=True)
    titles = [f"{what}{end}" for what in ("s", "MiB", "KiB") for end in (" planned", "", " ratio")]
    print_table(["stage", *titles], rows)


def _cells(plan: dict[str, float], truth: dict[str, float]) -> list[Any]:
    cells = []
    for key, unit, form in (("seconds", 1, ".2f"), ("mib", 1, ".0f"), ("bytes", 1024, ".0f")):
        both = [one[key] / unit for one in (plan, truth)]
        ratio = f"{both[0] / both[1]:.2f}" if both[1] > 0 else "-"
        cells += [*(f"{value:{form}}" for value in both), ratio]
    return cells


def _run() -> None:
    if sys.argv[1:] == ["-"]:
        print(json.dumps(work(**json.load(sys.stdin))))
        return
    if sys.argv[1:]:
        main(Path(sys.argv[1]).absolute())
        return
    with TemporaryDirectory() as folder:
        main(Path(folder))


if __name__ == "__main__":
    sys.exit(exit_code(_run))
