"""`make demo`: the whole job on images that it renders, on a CPU, without a download.

render → extract → vocabulary → global descriptors → neighbour lists → train → tune → evaluate.
Every step but the first is the command that a user would give, and is printed as such. λ and γ are
chosen on a rendered validation set, for the head and for the floors alike; the test world is only
evaluated, once.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any

from ames_lite.cli import (
    build_vocabulary,
    evaluate,
    extract_descriptors,
    extract_globals,
    prepare_topk_global,
    train,
    tune,
)
from ames_lite.cli.compose import Config, compose
from ames_lite.cli.released import NUM_RERANK as RELEASED_RERANK
from ames_lite.cli.released import released_head, released_vocabulary
from ames_lite.cli.shell import command, data_root, print_table, refuse_used
from ames_lite.runtime import peak_memory_mib, pick_device, settle_precision
from ames_lite.synthetic import WorldSpec, render_world

FLOORS = ("mutual_nn", "ransac")
NUM_RERANK = 200
DESCRIPTORS = 150  # of an image, where a head is trained
SHIPPED = ("ames", "elvis")


def worlds(seed: int) -> dict[str, WorldSpec]:
    """The three worlds of a seed; they share nothing."""
    return {
        "synthetic-train": WorldSpec(
            "train", seed, num_styles=48, queries=0, easy=4, hard=4, junk=0, distractors=0
        ),
        "synthetic-val": WorldSpec("val", seed, num_styles=5, distractors=100),
        "synthetic": WorldSpec("test", seed),
    }


def main(overrides: Sequence[str] | None = None) -> int:
    """The command."""
    return command("demo", run, overrides)


@dataclass
class Steps:
    """Runs commands of the project and prints them, with the time they took."""

    root: Path
    began: float = field(default_factory=time.perf_counter)

    def __call__(
        self, script: str, name: str, work: Callable[[Config], Any], *overrides: str
    ) -> Any:
        given = [*overrides, f"data_root={self.root}"]
        print(f"\n[{time.perf_counter() - self.began:4.0f} s] python {script} {' '.join(given)}")
        return work(compose(name, given))


def run(config: Config) -> None:
    """The whole job."""
    precision = settle_precision(config["precision"], pick_device())
    shipped = {} if config["train"] else {name: released_head(model=name) for name in SHIPPED}
    root, folder = _folders(config)
    step = Steps(root)
    drawn = worlds(config["seed"])
    if shipped:
        del drawn["synthetic-train"]
    for name, spec in drawn.items():
        render_world(spec, root / name, name, config["workers"])
    vocabulary = released_vocabulary() if shipped else None
    for name in drawn:
        training = name == "synthetic-train"
        prepare_world(
            *(step, name, config["workers"]),
            training=training,
            vocabulary=vocabulary,
            descriptors=None if shipped else DESCRIPTORS,
        )
    heads = shipped or {"ames": folder / "train"}
    if not shipped:
        head = heads["ames"]
        recipe = ("experiment=sift_synthetic", f"seed={config['seed']}", f"output_dir={head}")
        step("scripts/train.py", "train", train.run, *recipe)
    results: dict[str, Any] = {}
    num_rerank = RELEASED_RERANK if shipped else NUM_RERANK
    for model in (*FLOORS, *heads):
        given = [f"model={model}", "desc_name=sift", f"num_rerank={num_rerank}"]
        given += [f"precision={precision}"]
        given += [f"weights={heads[model]}"] if model in heads else []
        results[model] = tune_and_evaluate(
            step, model, given, folder, results, frozen=model in shipped
        )
    summarize(results, folder, "the heads' came with them" if shipped else None)


def prepare_world(
    step: Steps,
    name: str,
    workers: int,
    *,
    training: bool,
    vocabulary: Path | None = None,
    descriptors: int | None = None,
) -> None:
    """All that is made of a world's pictures.

    vocabulary: of VLAD; None: that of the world to train on, made here where training is true.
    descriptors: stored of an image; None: as conf/backbone/sift.yaml has it.
    """
    splits = "splits=[train]" if training else "splits=[query,gallery]"
    chosen = (f"dataset={name}", "desc_name=sift", splits)
    script, more = "extract/extract_descriptors.py", [f"workers={workers}"]
    more += [] if descriptors is None else [f"backbone.arguments.top_k={descriptors}"]
    step(script, "extract_descriptors", extract_descriptors.run, *chosen, *more)
    given = (f"dataset={name}", "desc_name=sift", "overwrite=true")
    if training and vocabulary is None:
        step("extract/build_vocabulary.py", "build_vocabulary", build_vocabulary.run, *given)
    script, named = "extract/extract_globals.py", [f"vocabulary={vocabulary}"] if vocabulary else []
    step(script, "extract_globals", extract_globals.run, *given, splits, *named)
    more = ["self_search=true", "num_neighbors=300"] if training else []
    step(
        "extract/prepare_topk_global.py",
        "prepare_topk_global",
        prepare_topk_global.run,
        *given,
        *more,
    )


def tune_and_evaluate(
    step: Steps,
    model: str,
    given: Sequence[str],
    folder: Path,
    others: dict[str, Any],
    *,
    frozen: bool = False,
) -> dict[str, Any]:
    """λ and γ on the validation world, then the test world; the head's report shows the others.

    given: what both commands are told of the model. frozen: λ and γ are those that the head came
    with; nothing is tuned.
    """
    chosen = [*given]
    output = f"output_dir={folder / f'tune_{model}'}"
    if not frozen:
        row = step("scripts/tune.py", "tune", tune.run, "dataset=synthetic-val", *chosen, output)
    if model in FLOORS:
        chosen += [f"lamb={row.lamb}", f"temp={row.temp}", "report_queries=0"]
    lines = [(name, found["rows"][0]["metrics"]) for name, found in others.items()]
    work = partial(evaluate.run, comparisons=lines)
    output = f"output_dir={folder / f'test_{model}'}"
    return step("scripts/evaluate.py", "evaluate", work, "dataset=synthetic", *chosen, output)


def summarize(results: dict[str, Any], folder: Path, remark: str | None = None) -> None:
    """The table of all models and the one last line; remark: on how λ and γ were chosen."""
    first = next(iter(results.values()))
    names = ["map_easy", "map_medium", "map_hard", "mp@10_medium"]
    rows = [["global (VLAD)", *(first["global"][name] for name in names)]]
    for model, found in results.items():
        rows.append([model, *(found["rows"][0]["metrics"][name] for name in names)])
    but = f" ({remark})" if remark else ""
    print(f"\nλ and γ of every model chosen on synthetic-val{but}; figures on synthetic:\n")
    print_table(["", *names], rows)
    print(f"\npeak memory {peak_memory_mib():.0f} MiB")
    before, after = rows[0][2], rows[-1][2]
    print(
        f"demo: {len(first['per_query'])} queries, global mAP {before:.4f} -> reranked mAP "
        f"{after:.4f} (medium), report: {folder / f'test_{model}' / 'report.html'}"
    )


def _folders(config: Config) -> tuple[Path, Path]:
    """Where the worlds go, and the run directory. Raises BadInput where that is in use."""
    root = data_root(config)
    if config["data_root"] is None:
        root = root / "demo" / f"seed{config['seed']}"
    if not config["train"]:
        root = root / "released"  # other descriptors and another vocabulary of the same pictures
    stamp = datetime.now().strftime("%Y%m%d-%H%M%S")
    folder = Path(config["output_dir"] or Path("runs") / f"demo_seed{config['seed']}_{stamp}")
    refuse_used(folder)
    return root, folder.expanduser().absolute()
