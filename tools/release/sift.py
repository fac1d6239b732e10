"""`python scripts/release.py`: a head to ship, from nothing but a seed.

render → extract → vocabulary → global descriptors → neighbour lists → train → tune → evaluate →
`weights/sift_<model>/`. Training landmarks are of the rich and the plain rendered world; λ and γ
are chosen on a rich and a plain validation world together; figures are of rich and plain test
worlds of this seed and of others, which nothing else has seen, and of the very file that is
shipped. No photograph is looked at. What has been done is left as it is: the command, given again,
goes on where it stopped. Recipes are compared with until=tune, which looks at no test world; the
baselines (mutual_nn, ransac) are the worlds' own and measured once, with until=baselines or by the
first head that is evaluated. A head whose recipe has `distil: true` is taught by another released
one, and its VLAD is of its teacher's vocabulary, so that both are used with one.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from ames_lite.cli import tune
from ames_lite.cli.compose import compose
from ames_lite.cli.demo import BASELINES, RELEASED_RERANK, prepare_sift, worlds
from ames_lite.cli.scoring_run import scoring
from ames_lite.cli.shell import command, data_root, print_table
from ames_lite.cli.steps import Steps
from ames_lite.errors import BadInput, ConfigError, MissingFile
from ames_lite.evaluation.tuning import Row, best
from ames_lite.io.checkpoint import load_head, save_head
from ames_lite.io.digest import file_digest
from ames_lite.io.writing import replacing
from ames_lite.reranking.calibration import Outcome
from ames_lite.runtime import peak_memory_mib
from ames_lite.synthetic import WorldSpec, render_world
from tools.release.files import world_vocabulary, write_release
from tools.release.rich.world import RichSpec, release_worlds, render_rich_world
from tools.schema import Release

MODELS = ("ames", "elvis")
VOCABULARY = "vlad_sift_rich-train.npz"  # of a released head, in its folder and below the root
TRAINING, VALIDATION, TEST = "rich-train", ("rich-val", "synthetic-val"), ("rich", "synthetic")


def main(overrides: Sequence[str] | None = None) -> int:
    """The command."""
    return command("release", run, overrides)


def run(config: Release) -> Path:
    """All stages up to `until`; returns the run directory."""
    check(config)
    root, folder = _folders(config)
    step = Steps(root)
    shared = _shared_vocabulary(config, root)
    for name, spec in specs_of(config).items():
        _prepare(step, name, spec, config.workers, shared)
    for test, specs in _other_tests(config, root).items():
        for name, spec in specs.items():
            elsewhere = replace(step, root=test)
            _prepare(elsewhere, name, spec, config.workers, world_vocabulary(root))
    if config.until == "prepare":
        return folder
    tests = {f"{world}, seed {config.seed}": root / world for world in TEST}
    for test, specs in _other_tests(config, root).items():
        tests |= {f"{world}, {test.name.replace('_', ' ')}": test / world for world in specs}
    if config.until == "baselines":
        _baselines(step, root, tests)
        return folder
    head = _train(step, config, folder)
    if config.until == "train":
        return folder
    name = config.model.name
    if config.until == "tune":
        figures_of(step, name, folder, {}, head)
        return folder
    found = {name: figures_of(step, name, folder, tests, head)}
    figures = _together({**_baselines(step, root, tests), **found}, tests)
    if config.until == "write":
        target = Path(config.weights or f"weights/sift_{config.model.name}")
        recipe = {
            key: getattr(config, key)
            for key in ("seed", "landmarks", "share", "train", "other_seeds")
        }
        if (teacher := teacher_of(config)) is not None:
            weights = Path(teacher).expanduser() / "weights.safetensors"
            recipe["teacher_sha256"] = file_digest(weights)
        write_release(target.expanduser().absolute(), folder, root, recipe, figures)
        print(f"release: {target}, peak memory {peak_memory_mib():.0f} MiB")
    return folder


def check(config: Release) -> None:
    """Raises ConfigError for what cannot be released, before any work."""
    name, until = config.model.name, config.until
    if name not in MODELS:
        raise ConfigError(f"model={name}", expected=f"model= one of {', '.join(MODELS)}")
    if config.model != compose("release", [f"model={name}"]).model:
        what = "model.arguments are those of the experiment"
        raise ConfigError(what, expected="\"train=['model.arguments.num_layers=2']\"")
    needed = until not in ("prepare", "baselines") and teacher_of(config) is not None
    if needed and not (config.teacher / "weights.safetensors").is_file():
        raise MissingFile(
            f"{name} is taught by another released head",
            where=config.teacher,
            expected="the folder of one",
            remedy="python scripts/release.py model=elvis, or teacher=<such a folder>",
        )
    others = config.other_seeds
    if len(set(others)) < len(others) or any(type(n) is not int or n < 1 for n in others):
        raise ConfigError(f"other_seeds={others}", expected="different whole numbers from 1 up")
    if config.landmarks < 8 or not 0 < config.share <= 1:
        what = f"landmarks={config.landmarks} share={config.share}"
        raise ConfigError(what, expected="at least 8 landmarks, a share in (0, 1]")


def teacher_of(config: Release) -> Path | None:
    """The released head that the model is taught by; None where its recipe has distil: false."""
    return config.teacher if compose("train", _recipe(config)).distil else None


def _shared_vocabulary(config: Release, root: Path) -> Path | None:
    """The teacher's vocabulary, put below the root too; None where the worlds make their own.

    Raises BadInput where the worlds below the root are of another one.
    """
    teacher = teacher_of(config)
    found = None if teacher is None else Path(teacher).expanduser() / VOCABULARY
    if found is None or not found.is_file():  # a teacher of one's own may have none
        return None
    place = root / VOCABULARY
    if not place.is_file():
        with replacing(place) as partial:
            shutil.copyfile(found, partial)
    if file_digest(place) != file_digest(found):
        raise BadInput(
            "these worlds are of another VLAD vocabulary than the teacher's",
            where=place,
            expected=f"the bytes of {found}: both heads are used with one",
            remedy="another data_root= or teacher=",
        )
    return place


def _recipe(config: Release) -> list[str]:
    """The overrides of scripts/train.py that are the recipe, without files."""
    experiment = f"experiment=sift_release_{config.model.name}"
    return [experiment, f"seed={config.seed}", *(str(text) for text in config.train)]


def specs_of(config: Release) -> dict[str, WorldSpec]:
    """All worlds of a release by name, that of training first."""
    found: dict[str, WorldSpec] = {**release_worlds(config.seed, config.landmarks)}
    found |= {name: spec for name, spec in worlds(config.seed).items() if name not in found}
    del found["synthetic-train"]
    return {
        name: spec if name == TRAINING else _smaller(spec, config.share)
        for name, spec in found.items()
    }


def _other_tests(config: Release, root: Path) -> dict[Path, dict[str, WorldSpec]]:
    """The test worlds of other seeds, by name, each seed's below a folder of its own."""
    found = {}
    for seed in (config.seed + more for more in config.other_seeds):
        drawn: dict[str, WorldSpec] = {**release_worlds(seed), **worlds(seed)}
        specs = {name: _smaller(drawn[name], config.share) for name in TEST}
        found[root / f"seed_{seed}"] = specs
    return found


def _smaller(spec: WorldSpec, share: float) -> WorldSpec:
    if share == 1:
        return spec
    styles, others = (max(1, round(n * share)) for n in (spec.num_styles, spec.distractors))
    return replace(spec, num_styles=styles, distractors=others)


def _prepare(
    step: Steps, name: str, spec: WorldSpec, workers: int, vocabulary: Path | None = None
) -> None:
    """A world's pictures and all that is made of them, unless it is there.

    vocabulary: None: the one below the same root.
    """
    folder = step.root / name
    render = render_rich_world if isinstance(spec, RichSpec) else render_world
    render(spec, folder, name, workers)  # type: ignore[arg-type]
    done = folder / "prepared.json"  # written last
    if not done.is_file():
        prepare_sift(step, name, workers, vocabulary=vocabulary)
        done.write_text(json.dumps({"name": name}))


def _train(step: Steps, config: Release, folder: Path) -> Path:
    """The trained head in half precision, as it will be shipped: what is tuned and measured."""
    trained, head = folder / "train", folder / "head"
    if not (trained / "weights.safetensors").is_file():
        for made_of_an_older_one in (head / "meta.json", _figures(folder, config.model.name)):
            made_of_an_older_one.unlink(missing_ok=True)
        teacher = teacher_of(config)
        taught = [] if teacher is None else [f"teacher={teacher}"]
        words = [f"output_dir={trained}", *taught, *_recipe(config)]
        step("train", *words)
    if not (head / "meta.json").is_file():
        save_head(head, *load_head(trained), half=True)
    return head


def figures_of(
    step: Steps, model: str, folder: Path, tests: Mapping[str, Path], head: Path | None = None
) -> dict[str, Any]:
    """Figures of a head or a baseline on every test world; λ, γ from the validation worlds.

    tests: the folder of every test world, by what it is called; none: nothing but λ and γ. What
    stands in `folder`/figures_<model>.json is not measured again.
    """
    done = _figures(folder, model)
    given = [f"model={model}", "desc_name=sift", f"num_rerank={RELEASED_RERANK}"]
    given += [] if head is None else [f"weights={head}"]
    if done.is_file():
        found = json.loads(done.read_text())
    else:
        row, maps, outcomes = _tuned(step, model, given, folder)
        if head is not None:
            tune.freeze(head, row, outcomes)
        chosen = {"lamb": row.lamb, "temp": row.temp, "map": row.metrics["map"], "maps": maps}
        found = {"validation": chosen, "test": {}}
        _keep(done, found)
    given += [f"{key}={found['validation'][key]}" for key in ("lamb", "temp")]
    for title, place in tests.items():
        if title not in found["test"]:
            output = folder / f"test_{model}_{title.replace(', seed ', '_seed')}"
            found["test"][title] = _measured(step, given, place, output)
            _keep(done, found)
    return {**found, "test": {title: found["test"][title] for title in tests}}


def _baselines(step: Steps, root: Path, tests: Mapping[str, Path]) -> dict[str, Any]:
    """Figures of the hand-made scores, kept below the root: of the same worlds for every head."""
    return {model: figures_of(step, model, root / "baselines", tests) for model in BASELINES}


def _figures(folder: Path, model: str) -> Path:
    return folder / f"figures_{model}.json"


def _keep(path: Path, found: Mapping[str, Any]) -> None:
    with replacing(path, overwrite=True) as partial:
        partial.write_text(json.dumps(found, indent=1))


def _together(found: Mapping[str, Any], tests: Mapping[str, Path]) -> dict[str, Any]:
    """The figures of several models, by world; printed too."""
    figures = {
        "validation": {model: there["validation"] for model, there in found.items()},
        "test": {title: {model: found[model]["test"][title] for model in found} for title in tests},
    }
    _summarize(figures)
    return figures


def _tuned(
    step: Steps, model: str, given: Sequence[str], folder: Path
) -> tuple[Row, dict[str, float], dict[str, Outcome]]:
    """The cell of λ and γ that is best on the validation worlds together; mAP, scores on each."""
    grids, scored = [], {}
    for world in VALIDATION:
        output = f"output_dir={_fresh(folder / f'tune_{model}_{world}')}"
        words = (f"dataset={world}", *given, output)
        print(f"\n{step.text('tune', *words)}")
        with scoring(step.config("tune", *words)) as shared:
            scored[world] = tune.score_grid(*shared)
        grids.append({(row.lamb, row.temp): row for row in scored[world].rows})
    row = best_together([list(grid.values()) for grid in grids], "map")
    cells = (grid[row.lamb, row.temp] for grid in grids)
    maps = {world: cell.metrics["map"] for world, cell in zip(VALIDATION, cells, strict=True)}
    parts = ", ".join(f"{world} {value:.4f}" for world, value in maps.items())
    print(f"{model}: λ {row.lamb}, γ {row.temp}, mAP {row.metrics['map']:.4f} ({parts})")
    return row, maps, {world: found.outcome(row) for world, found in scored.items()}


def _measured(step: Steps, given: Sequence[str], place: Path, output: Path) -> dict[str, Any]:
    """Figures on the test world in `place`; given: the model, its λ and γ."""
    there = replace(step, root=place.parent)
    words = (f"dataset={place.name}", *given, "report_queries=0", f"output_dir={_fresh(output)}")
    results = there("evaluate", *words)
    return {
        "global": results["global"],
        "metrics": results["rows"][0]["metrics"],
        "per_query": results["per_query"],
    }


def best_together(grids: Sequence[Sequence[Row]], metric: str) -> Row:
    """The cell of several grids of the same cells with the highest mean, chosen as by `best`."""
    means = [
        replace(cell[0], metrics={metric: sum(row.metrics[metric] for row in cell) / len(grids)})
        for cell in zip(*grids, strict=True)
    ]
    return best(means, metric)


def _fresh(folder: Path) -> Path:
    """A run directory that nothing stands in, beside what an interrupted run left behind."""
    number, found = 1, folder
    while found.exists():
        number += 1
        found = folder.with_name(f"{folder.name}_{number}")
    return found


def _summarize(figures: dict[str, Any]) -> None:
    names = ["map_easy", "map_medium", "map_hard"]
    for world, models in figures["test"].items():
        first = next(iter(models.values()))
        rows = [["global (VLAD)", *(first["global"][name] for name in names)]]
        rows += [[m, *(found["metrics"][name] for name in names)] for m, found in models.items()]
        print(f"\n{world}; λ and γ chosen on {' and '.join(VALIDATION)} together:\n")
        print_table(["", *names], rows)


def _folders(config: Release) -> tuple[Path, Path]:
    """Where the worlds go, and the run directory."""
    seed, root = config.seed, data_root(config)
    if config.data_root is None:
        root = root / "release" / f"seed{seed}"
    name = f"release_{config.model.name}_seed{seed}"
    folder = (config.output_dir or Path("runs") / name).absolute()
    folder.mkdir(parents=True, exist_ok=True)
    return root, folder
