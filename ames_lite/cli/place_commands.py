"""The commands of a run of place_recognition, as words: what a user would give to each script.

In: the plan and a set. Out: a `Command`. The convention to know: the words are all that the command
gets, so that what is printed is what was done.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from ames_lite.cli import (
    evaluate,
    extract_descriptors,
    extract_globals,
    prepare_set,
    prepare_topk_global,
)
from ames_lite.cli.build_vocabulary import run as run_vocabulary
from ames_lite.cli.compose import Config, compose
from ames_lite.cli.place_plan import Place, Plan, VocabularyPlan, data_root_word
from ames_lite.io.overrides import paste, word

OF_EXTRACTION = ("workers", "device", "precision", "batch_pixels", "on_bad_image")
OF_SCORING = ("query_desc_num", "gallery_desc_num", "max_memory", "threads", "report_queries")


class Command(NamedTuple):
    """A script, its configuration's name, the words, and what does it."""

    script: str
    name: str
    words: tuple[str, ...]
    work: Callable[[Config], Any]

    @property
    def text(self) -> str:
        """As a shell takes it."""
        return paste(self.script, self.words)

    def config(self) -> Config:
        """Raises ConfigError."""
        return compose(self.name, self.words)

    def run(self) -> Any:
        """Print it and do it."""
        print(f"\n{self.text}")
        return self.work(self.config())


def prepare_lists(plan: Plan, place: Place) -> Command:
    """Image lists and ground truth from the official layout."""
    words = (*place.words, *data_root_word(plan.config))
    return Command("scripts/prepare_set.py", "prepare_set", words, prepare_set.run)


def extract_local(
    plan: Plan, place: Place, splits: tuple[str, ...] = ("query", "gallery")
) -> Command:
    """Local descriptors, and in the same pass the CLS token where that makes the lists."""
    config = plan.config
    both = config["global"] == "cls" and not plan.from_images
    words = [word("desc_name", config["desc_name"]), *_backbone_words(config)]
    words += [] if both else ["outputs=[local]"]
    return _extract(plan, place, words, splits)


def _extract(plan: Plan, place: Place, words: list[str], splits: tuple[str, ...]) -> Command:
    given = [*place.words, *words, word("splits", splits), *_given(plan.config, OF_EXTRACTION)]
    whole = (*given, *data_root_word(plan.config))
    return Command(
        "extract/extract_descriptors.py", "extract_descriptors", whole, extract_descriptors.run
    )


def _backbone_words(config: Config) -> list[str]:
    """`backbone=`, and every argument of it that is not as its file has it."""
    name, arguments = config["backbone"]["name"], config["backbone"]["arguments"]
    plain = compose("extract_descriptors", [f"backbone={name}"])["backbone"]["arguments"]
    changed = {key: value for key, value in arguments.items() if value != plain[key]}
    return [f"backbone={name}", *(word(f"backbone.arguments.{k}", v) for k, v in changed.items())]


def extract_for_vocabulary(plan: Plan, vocabulary: VocabularyPlan, place: Place) -> Command:
    """The stores that a vocabulary is built from."""
    splits = (vocabulary.split,)
    if vocabulary.extraction is None:
        return extract_local(plan, place, splits)
    words = [word("desc_name", vocabulary.stores), *vocabulary.extraction, *_weights(plan)]
    return _extract(plan, place, words, splits)


def build_vocabulary(vocabulary: VocabularyPlan) -> Command:
    """A vocabulary of those stores."""
    script = "extract/build_vocabulary.py"
    return Command(script, "build_vocabulary", vocabulary.words, run_vocabulary)


def extract_global(plan: Plan, place: Place) -> Command:
    """Global descriptors: of the local ones, or of images by a backbone of their own."""
    config, kind = plan.config, plan.config["global"]
    words = [word("desc_name", plan.global_desc_name)]
    if plan.from_images:
        words += [*map(str, config["global_extraction"]), *_weights(plan)]
        size = place.dataset.get("published_size")
        if config["published_size"] and size:
            words = [w for w in words if not w.startswith("backbone.arguments.image_size=")]
            words.append(word("backbone.arguments.image_size", size))
    if kind == "cls":
        return _extract(plan, place, [*words, "outputs=[global]"], ("query", "gallery"))
    words.append(word("global", kind))
    if plan.from_images:
        words += ["source=images", *_given(config, OF_EXTRACTION)]
    if kind == "vlad":
        found = plan.vocabulary[place.folder]
        path = found if isinstance(found, Path) else found.path
        words.append(word("vocabulary", str(path)))
    whole = (*place.words, *words, *data_root_word(config))
    return Command("extract/extract_globals.py", "extract_globals", whole, extract_globals.run)


def search(plan: Plan, place: Place) -> Command:
    """Neighbour lists."""
    words = [word("desc_name", plan.global_desc_name), word("global", plan.config["global"])]
    words += _given(plan.config, ("num_neighbors", "device"))
    whole = (*place.words, *words, *data_root_word(plan.config))
    return Command(
        "extract/prepare_topk_global.py", "prepare_topk_global", whole, prepare_topk_global.run
    )


def rerank(
    plan: Plan, place: Place, reranker: str, neighbors: str, more: Mapping[str, Any]
) -> Command:
    """An evaluation. neighbors: a kind or a path; more: keys of this evaluation alone."""
    config, own = plan.config, plan.config[reranker]
    words = [f"model={reranker}", word("desc_name", config["desc_name"])]
    words.append(word("neighbors", neighbors))
    tuned = own["tuned"] is not None
    keys = ("weights", "tuned") if tuned else ("weights", "lamb", "temp")
    words += _given(own, keys)
    words += _given(config, ("num_rerank", "device", "seed", *OF_SCORING))
    words.append(word("precision", config["score_precision"]))
    words += [word(key, value) for key, value in more.items()]
    whole = (*place.words, *words, *data_root_word(config))
    return Command("scripts/evaluate.py", "evaluate", whole, evaluate.run)


def _weights(plan: Plan) -> list[str]:
    """Weights of the global descriptors' backbone."""
    path = plan.config["global_weights"]
    return [] if path is None else [word("backbone.arguments.weights", path)]


def _given(config: Mapping[str, Any], keys: tuple[str, ...]) -> list[str]:
    """The keys that have a value."""
    found = ((key, config.get(key)) for key in keys)
    return [word(key, value) for key, value in found if value is not None]
