"""What a released head consists of: weights, meta, vocabulary, figures and a model card.

Input: the run of `scripts/release.py`. Output: a folder with weights.safetensors (float16),
meta.json, the VLAD vocabulary that its global similarities are of, curve.json and README.md.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from ames_lite.errors import BadInput, MissingFile
from ames_lite.evaluation.significance import bootstrap_mean
from ames_lite.io.checkpoint import load_head, save_head
from tools.release.rich.world import release_worlds

LARGEST = 5 * 2**20  # bytes of a file that is shipped
CURVE = 60  # points of the training curve that are kept

CARD = """---
library_name: ames_lite
license: apache-2.0
tags:
- image-retrieval
- reranking
- local-descriptors
---

# {title}

A similarity head ({model}, {parameters} parameters, float16) for RootSIFT descriptors: it scores a
pair of images from their strongest local descriptors, without positions: {count} of an image in
training, {stored} where λ, γ and the figures below come from. Trained by this project, from
nothing, on images that it renders; no photograph took part in training, in the choice of the recipe
or of λ and γ.

    python scripts/release.py {command}   # makes this folder again

## Data

{images} rendered pictures of {landmarks} landmarks (tools/release/rich/world.py, seed {seed}):
streets, rooms, pictures, things, monuments, rocks and towers in space, under other light, from
other places, behind passers-by, by day and by night; {plain} of them are fronts with parts that
stand out, as `make demo` draws them (ames_lite/synthetic/world.py). Triplets are drawn from the
neighbours by VLAD (64 clusters, the vocabulary beside this file).

## Recipe

`conf/experiment/sift_release_{model}.yaml`{changes}; {epochs} epochs of {steps} steps{taught}.
λ = {lamb} and γ = {temp}, chosen on {tuned_on} together. `curve.json` has loss and accuracy.

{curve}

## Figures

Rendered worlds, of the seed of the release and of {others} others, whose landmarks, styles and
clutter nothing else has seen; {num_rerank} candidates reranked, every λ and γ from the same
validation worlds. Intervals: 95 %, bootstrap over queries, of the gain in AP (mean of medium and
hard) over the global ranking.

{figures}

## What it cannot do

It has seen rendered pictures alone. It compares local structure: what repeats in many places
(windows, foliage, letters) misleads it, and without texture it has nothing to compare. Positions
are not used, so that it cannot tell a heap of the same parts from the thing. Turned by much more
than 20 degrees, or seen from behind, a landmark is another one. λ and γ belong to VLAD with this
vocabulary: with another global descriptor, tune them (`scripts/tune.py`).
"""


def world_vocabulary(root: Path) -> Path:
    """The VLAD vocabulary of the world to train on, below a release's root. Raises MissingFile."""
    found = sorted(root.glob("vlad_sift_*.npz"))
    if len(found) != 1:
        raise MissingFile("the vocabulary is not there", where=root / "vlad_sift_*.npz")
    return found[0]


def write_release(
    target: Path, run: Path, root: Path, recipe: dict[str, Any], figures: dict[str, Any]
) -> Path:
    """Write the folder `target`. Raises BadInput where the weights are larger than allowed."""
    head, meta = load_head(run / "head")
    curve = read_curve(run / "train" / "log.jsonl")
    provenance = {**meta.provenance, "release": recipe, "figures": _short(figures)}
    target.mkdir(parents=True, exist_ok=True)
    weights = save_head(target, head, replace(meta, provenance=provenance), half=True)
    if weights.stat().st_size > LARGEST:
        raise BadInput(f"{weights.stat().st_size} bytes", where=weights, expected="at most 5 MiB")
    vocabulary = world_vocabulary(root)
    shutil.copyfile(vocabulary, target / vocabulary.name)
    (run / "figures.json").write_text(json.dumps(figures, indent=1) + "\n")  # of every query
    (target / "curve.json").write_text(json.dumps(curve) + "\n")
    config = yaml.safe_load((run / "train" / "config.yaml").read_text())
    world = release_worlds(recipe["seed"], recipe["landmarks"])["rich-train"]
    card = CARD.format(
        title=target.name,
        model=config["model"]["name"],
        parameters=sum(p.numel() for p in head.parameters()),
        count=_counts(config),
        stored=meta.provenance["descriptors"]["top_k"],
        command=f"model={config['model']['name']} seed={recipe['seed']}"
        + f" landmarks={recipe['landmarks']}"
        + f' "other_seeds={recipe["other_seeds"]}"'
        + (f' "train={recipe["train"]}"' if recipe["train"] else ""),
        images=meta.provenance["images"],
        landmarks=world.num_landmarks,
        plain=world.plain_styles * world.landmarks_per_style,
        seed=recipe["seed"],
        changes=f" with {', '.join(recipe['train'])}" if recipe["train"] else "",
        epochs=config["epochs"],
        steps=curve[-1]["steps"] // config["epochs"] if curve else 0,
        taught=_taught(config),
        lamb=meta.lamb,
        temp=meta.temp,
        tuned_on=meta.provenance["tuned_on"].replace("+", " and "),
        others=len(recipe["other_seeds"]),
        num_rerank=meta.provenance["tuned_num_rerank"],
        curve=_curve_table(curve),
        figures="\n\n".join(_table(world, models) for world, models in figures["test"].items()),
    )
    (target / "README.md").write_text(card, encoding="utf-8")
    return target


def _counts(config: dict[str, Any]) -> str:
    least, most = config["min_count"], config["max_count"]
    return str(most) if least in (0, most) else f"{least} to {most}"


def _taught(config: dict[str, Any]) -> str:
    if config["teacher"] is None:
        return ""
    return f", taught by {config['teacher']} (soft_targets={config['soft_targets']})"


def read_curve(path: Path) -> list[dict[str, float]]:
    """Means of loss and accuracy over CURVE parts of a training."""
    lines = [json.loads(line) for line in path.read_text().splitlines() if line.strip()]
    lines = [line for line in lines if line.get("loss") is not None]
    parts = np.array_split(np.arange(len(lines)), min(CURVE, len(lines)) or 1)
    return [
        {
            "steps": int(part[-1]) + 1,
            "loss": round(float(np.mean([lines[i]["loss"] for i in part])), 4),
            "accuracy": round(float(np.mean([lines[i]["accuracy"] for i in part])), 4),
        }
        for part in parts
        if len(part)
    ]


def _curve_table(curve: Sequence[dict[str, float]]) -> str:
    some = curve[:: max(1, len(curve) // 8)]
    rows = [f"| {name} | " + " | ".join(str(p[name]) for p in some) + " |" for name in some[0]]
    return "\n".join([rows[0], "|---" * (len(some) + 1) + "|", *rows[1:]])


def _table(world: str, models: dict[str, Any]) -> str:
    names = ("map_easy", "map_medium", "map_hard")
    first = next(iter(models.values()))
    lines = [f"| {world} | {' | '.join(names)} | gain in AP |", "|---|---|---|---|---|"]
    for name, metrics, gain in (
        ("global (VLAD)", first["global"], ""),
        *((model, found["metrics"], gain_of(found)) for model, found in models.items()),
    ):
        lines.append(f"| {name} | {' | '.join(f'{metrics[m]:.4f}' for m in names)} | {gain} |")
    return "\n".join(lines)


def gain_of(found: dict[str, Any]) -> str:
    """The mean gain in AP over the global ranking, in points, with its interval."""
    pairs = [(q["ap"], q["global_ap"]) for q in found["per_query"]]
    values = [100 * (after - before) for after, before in pairs if None not in (after, before)]
    gain = bootstrap_mean(np.array(values), seed=0)
    return f"{gain.mean:+.1f} [{gain.low:+.1f}, {gain.high:+.1f}]"


def _short(figures: dict[str, Any]) -> dict[str, Any]:
    """The main figure of every model on every test world."""
    return {
        world: {
            "global": next(iter(models.values()))["global"]["map_medium"],
            **{model: found["metrics"]["map_medium"] for model, found in models.items()},
        }
        for world, models in figures["test"].items()
    }
