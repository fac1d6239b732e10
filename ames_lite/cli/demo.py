"""`make demo`: the whole job on images that it renders, on a CPU, without a download: render →
extract → global descriptors → neighbour lists → train → tune → evaluate, with backbone=photo or
RootSIFT. Every step but the first is a command, which is printed. λ and γ of all models are chosen
on a rendered validation set; the test world is evaluated once.
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from ames_lite.cli.schema.evaluation import Demo
from ames_lite.cli.searching import released_vocabulary
from ames_lite.cli.shell import RESULTS, data_root, print_table, run_dir
from ames_lite.cli.steps import Steps
from ames_lite.cli.tune import TUNED
from ames_lite.evaluation.results_file import read_results
from ames_lite.evaluation.tuning import read_tuned
from ames_lite.extraction.backbones.photo import WHITENING
from ames_lite.hub import shipped_head
from ames_lite.io.shipped import shipped
from ames_lite.runtime import peak_memory_mib, pick_device, settle_precision
from ames_lite.synthetic import WorldSpec, render_world

BASELINES = ("mutual_nn", "ransac")
TRAINING = "synthetic-train"
RELEASED_RERANK = 400  # candidates that λ and γ of the released heads on sift are chosen for
DESCRIPTORS = 150  # RootSIFT's of an image, where a head is trained
ONE_SCALE = "backbone.arguments.global_scales=[1.0]"  # a third of the time
DIRECTIONS = 64  # of the demo's own whitening
SHOWN = ("map_easy", "map_medium", "map_hard", "mp@10_medium")


def worlds(seed: int, *, small: bool = False) -> dict[str, WorldSpec]:
    """The three worlds of a seed, which share nothing; small: fewer landmarks, for networks."""
    train, val, test = (14, 4, 6) if small else (48, 5, 8)  # styles
    views = {"queries": 0, "easy": 4, "hard": 4, "junk": 0, "distractors": 0}
    return {
        TRAINING: WorldSpec("train", seed, num_styles=train, **views),
        "synthetic-val": WorldSpec("val", seed, num_styles=val, distractors=60 if small else 100),
        "synthetic": WorldSpec("test", seed, num_styles=test, distractors=80 if small else 160),
    }


def prepare_sift(
    step: Steps, name: str, workers: int, *, vocabulary: Path | None = None, descriptors: int = 0
) -> None:
    """RootSIFT, VLAD and the lists of a dataset. vocabulary: of VLAD; None: that of the training
    set, made here. descriptors: stored of an image; 0: as conf/backbone/sift.yaml has it.
    """
    chosen = (f"dataset={name}", "desc_name=sift")
    more = [f"backbone.arguments.top_k={descriptors}"] if descriptors else []
    step("extract_descriptors", *chosen, _splits(name), f"workers={workers}", *more)
    given = (*chosen, "overwrite=true")
    if _is_training(name) and vocabulary is None:
        step("build_vocabulary", *given)
    named = [f"vocabulary={vocabulary}"] if vocabulary else []
    step("extract_globals", *given, _splits(name), *named)
    _rank(step, name, *given)


def describe_photo(step: Steps, name: str, workers: int, *arguments: str) -> None:
    """Descriptors of backbone=photo, local and GeM that is not whitened."""
    more = ["backbone.arguments.whitening=null", *arguments, f"workers={workers}"]
    step("extract_descriptors", f"dataset={name}", "desc_name=photo", _splits(name), *more)


def fit_photo_whitening(step: Steps, name: str, directions: int) -> None:
    """The whitening within the classes of a training set, pca_photo_gem_<name>.npz."""
    given = (f"dataset={name}", "desc_name=photo", "global=gem", "overwrite=true")
    step("fit_whitening", *given, "method=within_class", f"dim={directions}")


def rank_photo(step: Steps, name: str, whitening: Path) -> None:
    """Whitened GeM of a dataset, and the lists by it."""
    chosen = (f"dataset={name}", "desc_name=photo", "overwrite=true")
    how = (f"whitening={whitening}", _splits(name))
    step("extract_globals", *chosen, "source=globals", "global=gem", *how)
    _rank(step, name, *chosen, "global=gemw")


def _is_training(name: str) -> bool:
    """Whether a dataset is one to train on."""
    return name.endswith("-train")


def _splits(name: str) -> str:
    return "splits=[train]" if _is_training(name) else "splits=[query,gallery]"


def _rank(step: Steps, name: str, *given: str) -> None:
    """The neighbour lists; for training, of every image among the others."""
    more = ["self_search=true", "num_neighbors=300"] if _is_training(name) else []
    step("prepare_topk_global", *given, *more)


def _prepare_sift(step: Steps, name: str, workers: int, released: bool) -> None:
    vocabulary = released_vocabulary("sift", "ames") if released else None
    descriptors = 0 if released else DESCRIPTORS
    prepare_sift(step, name, workers, vocabulary=vocabulary, descriptors=descriptors)


def _prepare_photo(step: Steps, name: str, workers: int, released: bool) -> None:
    describe_photo(step, name, workers, *([] if released else [ONE_SCALE]))
    whitening = shipped(WHITENING) if released else step.root / f"pca_photo_gem_{TRAINING}.npz"
    if _is_training(name):
        fit_photo_whitening(step, name, DIRECTIONS)
    rank_photo(step, name, whitening)


class Recipe(NamedTuple):
    """What the demo does on one kind of descriptors: it trains the first of the shipped heads."""

    heads: tuple[str, ...]
    num_rerank: int
    num_rerank_shipped: int
    neighbors: str
    prepare: Callable[[Steps, str, int, bool], None]


RECIPES = {
    "photo": Recipe(("elvis",), 100, 100, "gemw", _prepare_photo),
    "sift": Recipe(("ames", "elvis"), 200, RELEASED_RERANK, "vlad", _prepare_sift),
}


def run(config: Demo) -> None:
    desc_name, trains = config.desc_name, config.train
    recipe = RECIPES[desc_name]
    precision = settle_precision(config.precision, pick_device())
    heads = {} if trains else {name: shipped_head(f"{desc_name}_{name}") for name in recipe.heads}
    root, folder = _folders(config, recipe.heads[0 if trains else -1])
    step = Steps(root)
    _prepare(step, config, recipe)
    if trains:
        heads[recipe.heads[0]] = folder / "train"
        taught = f"output_dir={folder / 'train'}"
        step("train", f"experiment={desc_name}_synthetic", f"seed={config.seed}", taught)
    num_rerank = recipe.num_rerank if trains else recipe.num_rerank_shipped
    chosen = [f"desc_name={desc_name}", f"neighbors={recipe.neighbors}", f"precision={precision}"]
    chosen.append(f"num_rerank={num_rerank}")
    results: dict[str, Any] = {}
    for model in (*BASELINES, *heads):
        given = [f"model={model}", *chosen]
        given += [f"weights={heads[model]}"] if model in heads else []
        tuned = trains or model in BASELINES
        results[model] = _tune_and_evaluate(step, model, given, folder, results, tuned)
    summarize(results, folder, recipe.neighbors, None if trains else "the heads' came with them")


def _prepare(step: Steps, config: Demo, recipe: Recipe) -> None:
    """The worlds, and what is made of their pictures; none to train on for the shipped heads."""
    drawn = worlds(config.seed, small=config.desc_name == "photo")
    if not config.train:
        del drawn[TRAINING]
    for name, spec in drawn.items():
        render_world(spec, step.root / name, name, config.workers)
    for name in drawn:
        recipe.prepare(step, name, config.workers, not config.train)


def _tune_and_evaluate(
    step: Steps,
    model: str,
    given: Sequence[str],
    folder: Path,
    done: Mapping[str, Any],
    tuned: bool,
) -> Any:
    """λ and γ on the validation world, then the test world; the head's report shows the others.
    given: what both commands are told of the model; not tuned: λ and γ come with the head.
    """
    chosen, choice, output = [*given], folder / f"tune_{model}", folder / f"test_{model}"
    if tuned and not (choice / TUNED).is_file():
        step("tune", "dataset=synthetic-val", *given, f"output_dir={choice}")
    if model in BASELINES:
        row = read_tuned(choice)
        chosen += [f"lamb={row.lamb}", f"temp={row.temp}", "report_queries=0"]
    if (output / RESULTS).is_file():
        return read_results(output)
    lines = [(name, found["rows"][0]["metrics"]) for name, found in done.items()]
    return step("evaluate", "dataset=synthetic", *chosen, f"output_dir={output}", comparisons=lines)


def summarize(results: Mapping[str, Any], folder: Path, neighbors: str, remark: str | None) -> None:
    """The table of all models and the last line; remark: on how λ and γ were chosen."""
    first = next(iter(results.values()))
    rows = [[f"global ({neighbors})", *(first["global"][name] for name in SHOWN)]]
    for model, found in results.items():
        rows.append([model, *(found["rows"][0]["metrics"][name] for name in SHOWN)])
    but = f" ({remark})" if remark else ""
    print(f"\nλ and γ of every model chosen on synthetic-val{but}; figures on synthetic:\n")
    print_table(["", *SHOWN], rows)
    print(f"\npeak memory {peak_memory_mib():.0f} MiB")
    before, after = rows[0][2], rows[-1][2]
    print(
        f"demo: {len(first['per_query'])} queries, global mAP {before:.4f} -> reranked mAP "
        f"{after:.4f} (medium), report: {folder / f'test_{model}' / 'report.html'}"
    )


def _folders(config: Demo, head: str) -> tuple[Path, Path]:
    """Where the worlds go, and the run directory (BadInput: in use). head: evaluated last."""
    root = data_root(config)
    if config.data_root is None:
        root = root / "demo" / f"seed{config.seed}"
        root = root if config.desc_name == "sift" else root / config.desc_name
    if not config.train:
        root = root / "released"  # other descriptors and another vocabulary of the same pictures
    folder = run_dir(config, f"demo_seed{config.seed}", f"test_{head}/{RESULTS}")
    return root, folder.absolute()
