"""The heads that scripts/frontier.py compares, each with its λ and γ.

Input: `weights=`, `tuned=`, `lamb=`, `temp=`. Output: heads under names that tell them apart. λ and
γ are a head's own, from a tuned.json of these very weights, else from its meta.json, unless they
are given for all.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from ames_lite.cli.shell import as_list
from ames_lite.errors import ConfigError, MissingFile
from ames_lite.evaluation.tuning import Tuned, read_tuned
from ames_lite.io.checkpoint import load_head
from ames_lite.io.digest import file_digest
from ames_lite.models import AMES, HEADS, SimilarityHead
from ames_lite.models.published import list_ensembles
from ames_lite.reranking.ensemble import check_ensemble
from ames_lite.reranking.scorer import PairScorer
from benchmarks.frontier.grid import kept_bits
from benchmarks.schema import Frontier


@dataclass(frozen=True, eq=False)
class Head:
    """One of the heads that are compared. role: of its λ and γ, frozen or given."""

    label: str
    path: Path
    scorer: PairScorer
    model: SimilarityHead
    lamb: float
    temp: float
    tuned_on: str | None
    role: str

    def plain(self) -> dict[str, Any]:
        """Fit for JSON."""
        names = ("label", "lamb", "temp", "tuned_on", "role")
        return {name: getattr(self, name) for name in names} | {
            "weights": str(self.path),
            "model": self.scorer.name,
            "weights_digest": self.scorer.digest,
            "bits_per_descriptor": kept_bits(self.model),
        }


def open_heads(config: Frontier) -> list[Head]:
    """The heads of weights=, under names that tell them apart."""
    paths = as_list(config.weights)
    if not paths:
        raise MissingFile(
            "no head to look at",
            where="weights= is not given",
            expected="weights=[<head>,<head>]: folders of training runs, or published .pt files",
            remedy=f"python scripts/train.py desc_name={config.desc_name}",
        )
    if len(set(paths)) < len(paths):
        raise ConfigError("weights= names a head twice", expected="each once")
    tuned = {str(path): read_tuned(path) for path in as_list(config.tuned)}
    heads = [_open(config, path, tuned) for path in paths]
    unused = set(tuned) - {found for head in heads if (found := _of(tuned, head.scorer))}
    if unused:
        raise ConfigError(
            f"tuned={sorted(unused)[0]} is for none of the heads",
            expected="choices that were tuned with the weights of weights=",
        )
    labels = [head.label for head in heads]
    return [
        replace(head, label=f"{head.label} ({head.path.name})")
        if labels.count(head.label) > 1
        else head
        for head in heads
    ]


def _of(tuned: dict[str, Tuned], scorer: PairScorer) -> str | None:
    """The choice that was made with these weights."""
    mine = (scorer.name, scorer.digest)
    return next((path for path, one in tuned.items() if (one.model, one.weights) == mine), None)


def _open(config: Frontier, path: Path, tuned: dict[str, Tuned]) -> Head:
    model, meta = load_head(path)
    if meta.desc_name not in (None, config.desc_name):
        raise ConfigError(
            f"the head was trained on '{meta.desc_name}', desc_name is '{config.desc_name}'",
            where=path,
            expected=f"heads of one desc_name, here desc_name={meta.desc_name}",
        )
    name = next(name for name, kind in HEADS.items() if type(model) is kind)
    weights = path / "weights.safetensors" if path.is_dir() else path
    check = partial(meta.check_descriptors, path)
    scorer = PairScorer(model, name, file_digest(weights), check)
    label = f"{name}_binary" if isinstance(model, AMES) and model.binary else name
    found = _of(tuned, scorer)
    known = meta if found is None else tuned[found]
    tuned_on = meta.provenance.get("tuned_on") if found is None else tuned[found].tuned_on
    given = config.lamb is not None or config.temp is not None
    lamb, temp = (
        getattr(known, key) if getattr(config, key) is None else getattr(config, key)
        for key in ("lamb", "temp")
    )
    if isinstance(lamb, list) or isinstance(temp, list):
        raise ConfigError(
            "lamb and temp are lists", expected="one number each: nothing is chosen here"
        )
    if lamb is None or temp is None:
        raise ConfigError(
            "λ and γ are unknown: the weights do not carry them",
            where=path,
            expected="tuned=[<run of scripts/tune.py>], or lamb=<0 to 1> temp=<above 0>; files of "
            f"these names have the published ones: {list_ensembles()}",
            remedy=f"choose them on a validation set: python scripts/tune.py weights={path}",
        )
    check_ensemble(float(lamb), float(temp))
    role = "given" if given or tuned_on is None else "frozen"
    tuned_on = tuned_on if role == "frozen" else None
    return Head(label, path, scorer, model, float(lamb), float(temp), tuned_on, role)
