"""The worlds of `make demo`, and what is made of their pictures, by commands that are printed."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ames_lite.cli.steps import Steps
from ames_lite.synthetic import WorldSpec


def worlds(seed: int) -> dict[str, WorldSpec]:
    """The three worlds of a seed; they share nothing."""
    return {
        "synthetic-train": _training(seed, 48),
        "synthetic-val": WorldSpec("val", seed, num_styles=5, distractors=100),
        "synthetic": WorldSpec("test", seed),
    }


def small_worlds(seed: int) -> dict[str, WorldSpec]:
    """Fewer landmarks of the same seed, for descriptors that take a network."""
    return {
        "synthetic-train": _training(seed, 14),
        "synthetic-val": WorldSpec("val", seed, num_styles=4, distractors=60),
        "synthetic": WorldSpec("test", seed, num_styles=6, distractors=80),
    }


def _training(seed: int, styles: int) -> WorldSpec:
    views = {"queries": 0, "easy": 4, "hard": 4, "junk": 0, "distractors": 0}
    return WorldSpec("train", seed, num_styles=styles, **views)


def splits_of(training: bool) -> str:
    """The splits of a world, as an override."""
    return "splits=[train]" if training else "splits=[query,gallery]"


def topk(step: Steps, given: Sequence[str], training: bool) -> None:
    """The neighbour lists of a world; for training, of every image among the others."""
    more = ["self_search=true", "num_neighbors=300"] if training else []
    step("prepare_topk_global", *given, *more)


def prepare_sift(
    step: Steps,
    name: str,
    workers: int,
    *,
    training: bool,
    vocabulary: Path | None = None,
    descriptors: int | None = None,
) -> None:
    """RootSIFT, VLAD and the lists of a world.

    vocabulary: of VLAD; None: that of the world to train on, made here where training is true.
    descriptors: stored of an image; None: as conf/backbone/sift.yaml has it.
    """
    chosen = (f"dataset={name}", "desc_name=sift")
    more = [] if descriptors is None else [f"backbone.arguments.top_k={descriptors}"]
    splits = splits_of(training)
    step("extract_descriptors", *chosen, splits, f"workers={workers}", *more)
    given = (*chosen, "overwrite=true")
    if training and vocabulary is None:
        step("build_vocabulary", *given)
    named = [f"vocabulary={vocabulary}"] if vocabulary else []
    step("extract_globals", *given, splits, *named)
    topk(step, given, training)


def describe_photo(
    step: Steps, name: str, workers: int, *, training: bool, arguments: Sequence[str] = ()
) -> None:
    """Descriptors of backbone=photo, local and GeM that is not whitened."""
    more = ["backbone.arguments.whitening=null", *arguments, f"workers={workers}"]
    step("extract_descriptors", f"dataset={name}", "desc_name=photo", splits_of(training), *more)


def fit_photo_whitening(step: Steps, name: str, directions: int) -> Path:
    """The whitening within the classes of a training set; returns its file."""
    given = (f"dataset={name}", "desc_name=photo", "global=gem", "overwrite=true")
    step("fit_whitening", *given, "method=within_class", f"dim={directions}")
    return step.root / f"pca_photo_gem_{name}.npz"


def rank_photo(step: Steps, name: str, whitening: Path, *, training: bool) -> None:
    """Whitened GeM of a set, and the lists by it."""
    chosen = (f"dataset={name}", "desc_name=photo", "overwrite=true")
    how = (f"whitening={whitening}", splits_of(training))
    step("extract_globals", *chosen, "source=globals", "global=gem", *how)
    topk(step, (*chosen, "global=gemw"), training)
