"""Make weights/photo_elvis: the head on photographs' descriptors (backbone=photo).

    python tools/release/photo.py <pool> --distractors <folder> --root <folder> --output <folder>

<pool> has a folder of photographs for each instance, and pool_meta.csv (instance,family,kind).
Rendered landmarks join them as a further kind. Training and validation are split by family; the
whitening of GeM comes from the training photographs, λ, γ and the calibration from validation, and
test worlds of other seeds are measured once. Every step is a command of the project and is printed;
what stands is not made again.
"""

from __future__ import annotations

import argparse
import csv
import json
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from ames_lite.cli.compose import compose
from ames_lite.cli.demo import describe_photo, fit_photo_whitening, rank_photo, worlds
from ames_lite.cli.shell import dataset_files, protocol_of
from ames_lite.cli.steps import Steps
from ames_lite.datasets.image_lists import read_image_list
from ames_lite.errors import MissingFile, UserError
from ames_lite.evaluation.passes import Cell
from ames_lite.evaluation.results_file import read_results, reread
from ames_lite.evaluation.significance import bootstrap_mean
from ames_lite.evaluation.tuning import outcome
from ames_lite.io.checkpoint import load_head, save_head
from ames_lite.io.images import load_image, save_jpeg
from ames_lite.reranking.calibration import Bin, Calibration, reliability
from ames_lite.synthetic import render_world
from tools.release.files import gain_of

HERE = Path(__file__).parent
BASELINES = ("chamfer", "mutual_nn", "ransac")
RENDERED = "rendered"
MOST = 15  # photographs of an instance: a kind with many would drown the others
NUM_RERANK = 100
CHOSEN = ("desc_name=photo", "neighbors=gemw")
MAX_FALSE = 0.05
WHITENING = "pca_photo_gem_photos-train.npz"


def main() -> None:
    """All steps."""
    args = arguments()
    root, output = args.root.absolute(), args.output.absolute()
    step = Steps(root)
    specs = worlds(args.seed)
    training = replace(specs["synthetic-train"], num_styles=args.styles)
    render_world(training, root / "rendered", "rendered", args.workers)
    join(args, root / "images", root / "rendered")
    prepare(step, args)
    head = trained(step, args, output)
    found = {model: on_validation(step, model, None, output) for model in BASELINES}
    found["elvis"] = on_validation(step, "elvis", head, output)
    tests = {
        f"rendered, seed {seed}": measured(step, args, seed, found, head, output)
        for seed in args.test_seeds
    }
    write(args, root, output, head, found, tests)


def arguments() -> argparse.Namespace:
    """Of the command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("pool", type=Path)
    parser.add_argument("--distractors", type=Path, required=True)
    parser.add_argument("--root", type=Path, required=True, help="where all data goes")
    parser.add_argument("--output", type=Path, required=True, help="where the runs go")
    parser.add_argument("--weights", type=Path, default=Path("weights/photo_elvis"))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--styles", type=int, default=24, help="of rendered training landmarks")
    parser.add_argument("--test-seeds", type=int, nargs="+", default=[1, 2, 3, 4, 0])
    parser.add_argument("--workers", type=int, default=2)
    return parser.parse_args()


def join(args: argparse.Namespace, images: Path, rendered: Path) -> None:
    """One folder of class folders, of links: photographs, and rendered landmarks."""
    table = args.pool / "pool_meta.csv"
    for path in (table, args.distractors):
        if not path.exists():
            expected = "class folders with pool_meta.csv (instance,family,kind), and --distractors"
            raise MissingFile("photographs to train on are missing", where=path, expected=expected)
    rows = list(csv.DictReader(table.open(encoding="utf-8")))
    classes = {row["instance"]: sorted((args.pool / row["instance"]).iterdir()) for row in rows}
    kinds = {row["instance"]: (row["family"], row["kind"]) for row in rows}
    listed = read_image_list(rendered / "train.txt")
    assert listed.labels is not None
    for name, label in zip(listed.names, listed.labels, strict=True):
        instance = f"{RENDERED}_{int(label):04}"
        classes.setdefault(instance, []).append(rendered / name)
        kinds[instance] = (instance, RENDERED)
    for instance, paths in classes.items():
        folder = images / "classes" / instance
        folder.mkdir(parents=True, exist_ok=True)
        count = min(MOST, len(paths))
        for n in range(count):
            link(folder, paths[n * len(paths) // count])
    (images / "distractors").mkdir(exist_ok=True)
    for path in sorted(p for p in args.distractors.rglob("*") if p.is_file()):
        link(images / "distractors", path)
    with (images / "families.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows(
            [("instance", "family", "kind"), *((name, *both) for name, both in kinds.items())]
        )


def link(folder: Path, path: Path) -> None:
    """A link to a file, unless it is there."""
    target = folder / path.name
    if not target.is_symlink():
        target.symlink_to(path.absolute())


def prepare(step: Steps, args: argparse.Namespace) -> None:
    """The two data sets, their descriptors and neighbour lists."""
    images = step.root / "images"
    if not (step.root / "photos-val" / "dataset.json").is_file():
        given = [f"images={images / 'classes'}", "labels=folders", "name=photos"]
        given += [f"families={images / 'families.csv'}", f"distractors={images / 'distractors'}"]
        given += ["val_share=0.25", f"seed={args.seed}"]
        step("prepare_dataset", *given)
    describe(step, "photos-train", args.workers)
    whitening = step.root / WHITENING
    if not whitening.is_file():
        fit_photo_whitening(step, "photos-train", directions=128)
    rank(step, "photos-train")
    describe(step, "photos-val", args.workers)
    rank(step, "photos-val")


def describe(step: Steps, name: str, workers: int) -> None:
    """Descriptors of a data set, local and GeM, unless they are there."""
    file = "photo_gem.hdf5" if name == "photos-train" else "photo_gallery_gem.hdf5"
    if not (step.root / name / file).is_file():
        describe_photo(step, name, workers)


def rank(step: Steps, name: str, *, root: Path | None = None) -> None:
    """Lists by GeM, whitened as fitted below root (None: the data's), unless they are there."""
    if not (step.root / name / "nn_photo_gemw.hdf5").is_file():
        rank_photo(step, name, (root or step.root) / WHITENING)


def trained(step: Steps, args: argparse.Namespace, output: Path) -> Path:
    """The head in half precision: what is tuned, measured and shipped."""
    run, head = output / "train", output / "head"
    if not (run / "weights.safetensors").is_file():
        given = ("experiment=photo_release_elvis", f"seed={args.seed}", f"output_dir={run}")
        step("train", *given)
    if not (head / "meta.json").is_file():
        save_head(head, *load_head(run), half=True)
    return head


def on_validation(step: Steps, model: str, head: Path | None, output: Path) -> dict[str, Any]:
    """λ and γ of a model, frozen in the head, and the AP of every validation query."""
    done = output / f"validation_{model}.json"
    if not done.is_file():
        given = [f"model={model}", *CHOSEN, "dataset=photos-val", f"num_rerank={NUM_RERANK}"]
        given += [] if head is None else [f"weights={head}"]
        row = step("tune", *given, run_at(output, f"tune_{model}"))
        given += [f"lamb={row.lamb}", f"temp={row.temp}", "report_queries=0"]
        results = step("evaluate", *given, run_at(output, f"val_{model}"))
        kept = {"lamb": row.lamb, "temp": row.temp, "per_query": results["per_query"]}
        done.write_text(json.dumps(kept))
    return dict(json.loads(done.read_text()))


def run_at(output: Path, name: str) -> str:
    """A run directory of its own; what an interrupted run left goes."""
    shutil.rmtree(output / name, ignore_errors=True)
    return f"output_dir={output / name}"


def measured(
    step: Steps,
    args: argparse.Namespace,
    seed: int,
    chosen: dict[str, dict[str, Any]],
    head: Path,
    output: Path,
) -> dict[str, Any]:
    """Figures of all models on the rendered test world of a seed, with the frozen λ and γ."""
    there = replace(step, root=step.root / f"seed_{seed}")
    render_world(worlds(seed)["synthetic"], there.root / "synthetic", "synthetic", args.workers)
    describe(there, "synthetic", args.workers)
    rank(there, "synthetic", root=step.root)
    results: dict[str, Any] = {}
    for model, row in chosen.items():
        done = output / f"test_{model}_{seed}.json"
        if not done.is_file():
            given = [f"model={model}", *CHOSEN, "dataset=synthetic", f"num_rerank={NUM_RERANK}"]
            given += [f"lamb={row['lamb']}", f"temp={row['temp']}", "report_queries=0"]
            given += [f"weights={head}"] if model == "elvis" else []
            place = run_at(output, f"test_{model}_{seed}")
            found = there("evaluate", *given, place)
            kept = {"global": found["global"], "metrics": found["rows"][0]["metrics"]}
            done.write_text(json.dumps({**kept, "per_query": found["per_query"]}))
        results[model] = json.loads(done.read_text())
    run = output / f"test_elvis_{seed}"
    results["elvis"]["answers"] = answers(there.root, run, "synthetic", head)
    return results


def answers(root: Path, run: Path, dataset: str, head: Path) -> list[str]:
    """How the head's calibration does on the queries of a run: cells of a row of the card."""
    config = compose("evaluate", [f"dataset={dataset}", *CHOSEN, f"data_root={root}"])
    files, protocol = dataset_files(config), protocol_of(config)
    where = run / "results.json"
    scores = run / "scores.hdf5"
    found = reread(read_results(where), where, files, protocol, config.neighbors, scores)
    _, meta = load_head(head)
    calibration = Calibration.from_json(meta.calibration)
    assert meta.lamb is not None and meta.temp is not None
    told = outcome(found, found.scores, Cell(NUM_RERANK, meta.lamb, meta.temp))
    threshold = calibration.threshold(MAX_FALSE)
    best, right, _ = told.first()
    errors = [
        replace(curve, reliability=reliability(curve(scores), right)).error
        for curve, (scores, right, _) in (
            (calibration.pairs, told.pairs()),
            (calibration.first, told.first()),
        )
    ]
    false, accepted = told.absent > threshold, best[right] > threshold
    return [f"{value:.3f}" for value in (*errors, false.mean(), accepted.mean())]


def write(
    args: argparse.Namespace,
    root: Path,
    output: Path,
    head: Path,
    found: dict[str, dict[str, Any]],
    tests: dict[str, dict[str, Any]],
) -> None:
    """The head and its card."""
    model, meta = load_head(head)
    args.weights.mkdir(parents=True, exist_ok=True)
    save_head(args.weights, model, meta, half=True)
    assert meta.calibration is not None
    calibration = Calibration.from_json(meta.calibration)
    lines = sum(1 for _ in (output / "train" / "log.jsonl").open())
    card = (
        (HERE / "photo_card.md")
        .read_text(encoding="utf-8")
        .format(
            parameters=sum(p.numel() for p in model.parameters()),
            seed=args.seed,
            steps=lines,
            images=meta.provenance["images"],
            kinds="\n".join(kind_rows(root)),
            lamb=meta.lamb,
            temp=meta.temp,
            validation="\n".join(validation_rows(root, found)),
            tests="\n\n".join("\n".join(test_rows(name, models)) for name, models in tests.items()),
            answers="\n".join(answer_rows(root, output, head, tests)),
            ece=f"{calibration.pairs.error:.4f}",
            ece_first=f"{calibration.first.error:.4f}",
            reliability="\n".join(map(bin_row, calibration.pairs.reliability)),
            reliability_first="\n".join(map(bin_row, calibration.first.reliability)),
            threshold=f"{calibration.threshold(MAX_FALSE):.4f}",
        )
    )
    (args.weights / "README.md").write_text(card, encoding="utf-8")
    shutil.copy(root / WHITENING, args.weights)
    draw_failures(root, output, args)
    print(f"release: {args.weights}")


def draw_failures(root: Path, output: Path, args: argparse.Namespace) -> None:
    """What the head got wrong on the first test world, as the card's picture."""
    seed = args.test_seeds[0]
    given = [f"results={output / f'test_elvis_{seed}'}", "num_rows=3"]
    sheet = Steps(root / f"seed_{seed}")("failures", *given, run_at(output, "failures"))
    save_jpeg(args.weights / "failures.jpg", load_image(sheet), quality=70)


def answer_rows(
    root: Path, output: Path, head: Path, tests: dict[str, dict[str, Any]]
) -> Iterator[str]:
    """Errors of the probabilities, and of answers at MAX_FALSE, on every set."""
    of_sets = {"validation": answers(root, output / "val_elvis", "photos-val", head)}
    of_sets |= {name: models["elvis"]["answers"] for name, models in tests.items()}
    for name, cells in of_sets.items():
        yield f"| {name} | {' | '.join(cells)} |"


def bin_row(b: Bin) -> str:
    """A row of the table of reliability."""
    return f"| {b.low:.1f} to {b.high:.1f} | {b.pairs} | {b.predicted:.3f} | {b.observed:.3f} |"


def kinds_of(root: Path, name: str) -> dict[str, str]:
    """Kind by label of one of the two sets."""
    rows = csv.DictReader((root / name / "families.csv").open(encoding="utf-8"))
    return {row["label"]: row["kind"] for row in rows}


def kind_rows(root: Path) -> Iterator[str]:
    """Of every kind: instances and photographs on either side."""
    count: dict[str, list[int]] = {}
    for side, (name, file) in enumerate(
        [("photos-train", "train.txt"), ("photos-val", "gallery.txt")]
    ):
        kinds = kinds_of(root, name)
        listed = read_image_list(root / name / file)
        for kind in kinds.values():
            count.setdefault(kind, [0, 0, 0, 0])[side] += 1
        for label in listed.labels if listed.labels is not None else []:
            if str(label) in kinds:
                count[kinds[str(label)]][2 + side] += 1
    for kind, (a, b, c, d) in sorted(count.items()):
        yield f"| {kind} | {a} ({c}) | {b} ({d}) |"


def validation_rows(root: Path, found: dict[str, dict[str, Any]]) -> Iterator[str]:
    """AP by kind: of the global order and of every model; the gain with its interval."""
    listed = read_image_list(root / "photos-val" / "query.txt")
    assert listed.labels is not None
    kinds = kinds_of(root, "photos-val")
    kind = {n: kinds[str(label)] for n, label in zip(listed.names, listed.labels, strict=True)}
    groups = {"photographs": lambda k: k != RENDERED, RENDERED: lambda k: k == RENDERED}
    for group, belongs in groups.items():
        first = next(iter(found.values()))["per_query"]
        rows = [n for n, query in enumerate(first) if belongs(kind[query["name"]])]
        before = np.array([first[n]["global_ap"] for n in rows])
        yield f"| {group} ({len(rows)}) | global | {before.mean():.4f} | |"
        for model, values in found.items():
            after = np.array([values["per_query"][n]["ap"] for n in rows])
            gain = bootstrap_mean(100 * (after - before), seed=0)
            said = f"{gain.mean:+.1f} [{gain.low:+.1f}, {gain.high:+.1f}]"
            yield f"| | {model} | {after.mean():.4f} | {said} |"


def test_rows(name: str, models: dict[str, Any]) -> Iterator[str]:
    """The figures of a test world."""
    names = ("map_easy", "map_medium", "map_hard")
    yield f"| {name} | {' | '.join(names)} | gain in AP |"
    yield "|---|---|---|---|---|"
    before = next(iter(models.values()))["global"]
    yield f"| global | {' | '.join(f'{before[m]:.4f}' for m in names)} | |"
    for model, found in models.items():
        figures = " | ".join(f"{found['metrics'][m]:.4f}" for m in names)
        yield f"| {model} | {figures} | {gain_of(found)} |"


if __name__ == "__main__":
    try:
        main()
    except UserError as error:
        raise SystemExit(f"error: {error}") from error
