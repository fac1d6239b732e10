"""`make demo`: the whole job on images that it renders, on a CPU, without a download.

render → extract → global descriptors → neighbour lists → train → tune → evaluate, of photographs'
descriptors (backbone=photo) or of RootSIFT. Every step but the first is a command, printed as it is
given. λ and γ of the head and of the baselines are chosen on a rendered validation set; the test
world is evaluated once.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ames_lite.cli.compose import Config
from ames_lite.cli.demo_worlds import (
    describe_photo,
    fit_photo_whitening,
    prepare_sift,
    rank_photo,
    small_worlds,
    worlds,
)
from ames_lite.cli.released import NUM_RERANK as RELEASED_RERANK
from ames_lite.cli.released import released_head, released_vocabulary, released_whitening
from ames_lite.cli.shell import command, data_root, print_table, refuse_used, stamped_dir
from ames_lite.cli.steps import Steps
from ames_lite.errors import ConfigError
from ames_lite.runtime import peak_memory_mib, pick_device, settle_precision
from ames_lite.synthetic import WorldSpec, render_world

BASELINES = ("mutual_nn", "ransac")
DESCRIPTORS = 150  # RootSIFT's of an image, where a head is trained
ONE_SCALE = "backbone.arguments.global_scales=[1.0]"  # a third of the time
DIRECTIONS = 64  # of the demo's own whitening


@dataclass(frozen=True)
class Recipe:
    """What the demo does on one kind of descriptors.

    trained: the head, by experiment; shipped: heads of train=false; num_rerank: of both.
    """

    worlds: Callable[[int], dict[str, WorldSpec]]
    trained: str
    shipped: tuple[str, ...]
    experiment: str
    num_rerank: tuple[int, int]
    neighbors: str


RECIPES = {
    "photo": Recipe(
        worlds=small_worlds,
        trained="elvis",
        shipped=("elvis",),
        experiment="photo_synthetic",
        num_rerank=(100, 100),
        neighbors="gemw",
    ),
    "sift": Recipe(
        worlds=worlds,
        trained="ames",
        shipped=("ames", "elvis"),
        experiment="sift_synthetic",
        num_rerank=(200, RELEASED_RERANK),
        neighbors="vlad",
    ),
}


def main(overrides: Sequence[str] | None = None) -> int:
    """The command."""
    return command("demo", run, overrides)


def run(config: Config) -> None:
    """The whole job."""
    desc_name, trains = config["desc_name"], config["train"]
    if desc_name not in RECIPES:
        raise ConfigError(f"desc_name={desc_name}", expected=f"one of {', '.join(RECIPES)}")
    recipe = RECIPES[desc_name]
    precision = settle_precision(config["precision"], pick_device())
    heads = {} if trains else {name: released_head(desc_name, name) for name in recipe.shipped}
    root, folder = _folders(config)
    step = Steps(root)
    drawn = recipe.worlds(config["seed"])
    if heads:
        del drawn["synthetic-train"]
    for name, spec in drawn.items():
        render_world(spec, root / name, name, config["workers"])
    prepare = _prepare_photo if desc_name == "photo" else _prepare_sift
    prepare(step, list(drawn), config["workers"], bool(heads))
    if trains:
        heads[recipe.trained] = folder / "train"
        taught = f"output_dir={folder / 'train'}"
        step("train", f"experiment={recipe.experiment}", f"seed={config['seed']}", taught)
    results: dict[str, Any] = {}
    chosen = [f"desc_name={desc_name}", f"neighbors={recipe.neighbors}", f"precision={precision}"]
    chosen += [f"num_rerank={recipe.num_rerank[not trains]}"]
    for model in (*BASELINES, *heads):
        given = [f"model={model}", *chosen]
        given += [f"weights={heads[model]}"] if model in heads else []
        results[model] = tune_and_evaluate(
            step, model, given, folder, results, frozen=not trains and model in heads
        )
    summarize(results, folder, recipe.neighbors, None if trains else "the heads' came with them")


def _prepare_photo(step: Steps, names: Sequence[str], workers: int, shipped: bool) -> None:
    whitening = released_whitening() if shipped else None
    for name in names:
        training = name == "synthetic-train"
        arguments = () if shipped else (ONE_SCALE,)
        describe_photo(step, name, workers, training=training, arguments=arguments)
        if whitening is None:
            whitening = fit_photo_whitening(step, name, DIRECTIONS)
        rank_photo(step, name, whitening, training=training)


def _prepare_sift(step: Steps, names: Sequence[str], workers: int, shipped: bool) -> None:
    for name in names:
        prepare_sift(
            *(step, name, workers),
            training=name == "synthetic-train",
            vocabulary=released_vocabulary() if shipped else None,
            descriptors=None if shipped else DESCRIPTORS,
        )


def tune_and_evaluate(
    step: Steps,
    model: str,
    given: Sequence[str],
    folder: Path,
    others: dict[str, Any],
    *,
    frozen: bool = False,
) -> Any:
    """λ and γ on the validation world, then the test world; the head's report shows the others.

    given: what both commands are told of the model. frozen: λ and γ are those that the head came
    with; nothing is tuned.
    """
    chosen = [*given]
    output = f"output_dir={folder / f'tune_{model}'}"
    if not frozen:
        row = step("tune", "dataset=synthetic-val", *chosen, output)
    if model in BASELINES:
        chosen += [f"lamb={row.lamb}", f"temp={row.temp}", "report_queries=0"]
    lines = [(name, found["rows"][0]["metrics"]) for name, found in others.items()]
    output = f"output_dir={folder / f'test_{model}'}"
    return step("evaluate", "dataset=synthetic", *chosen, output, comparisons=lines)


def summarize(
    results: dict[str, Any], folder: Path, neighbors: str, remark: str | None = None
) -> None:
    """The table of all models and the last line; remark: on how λ and γ were chosen."""
    first = next(iter(results.values()))
    names = ["map_easy", "map_medium", "map_hard", "mp@10_medium"]
    rows = [[f"global ({neighbors})", *(first["global"][name] for name in names)]]
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
        root = root if config["desc_name"] == "sift" else root / config["desc_name"]
    if not config["train"]:
        root = root / "released"  # other descriptors and another vocabulary of the same pictures
    folder = Path(config["output_dir"] or stamped_dir(f"demo_seed{config['seed']}")).expanduser()
    refuse_used(folder)
    return root, folder.absolute()
