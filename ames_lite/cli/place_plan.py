"""Datasets, vocabularies and rerankers of a place_recognition run, and the command of every stage.

Only configurations are read. A command is a tuple of its name and its overrides, as `Steps` runs
it; DatasetFiles find what it writes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from ames_lite.cli.build_vocabulary import parse_source
from ames_lite.cli.compose import Config, compose, experiments_of, options_of
from ames_lite.cli.shell import data_root, dataset_files
from ames_lite.cli.steps import Steps, words
from ames_lite.datasets.layout import DatasetFiles
from ames_lite.datasets.relation import SIDES
from ames_lite.errors import ConfigError
from ames_lite.io.overrides import word
from ames_lite.models import HEADS

RERANKERS = ("ames", "elvis", "mutual_nn", "ransac")
KINDS = ("vlad", "gem", "mean", "cls")
OF_EXTRACTION = ("workers", "device", "precision", "batch_pixels", "on_bad_image")
OF_SCORING = ("query_desc_num", "gallery_desc_num", "max_memory", "threads", "report_queries")
Command = tuple[str, ...]  # its name, then overrides


@dataclass(frozen=True, eq=False)
class Place:
    """A dataset. words: how a command names it; files, globals: by its two desc_names."""

    words: Command
    dataset: Config
    files: DatasetFiles
    globals: DatasetFiles
    vocabulary: Vocabulary | None = None

    @property
    def name(self) -> str:
        """The dataset, and its direction; a folder of results is called so."""
        return self.files.name


@dataclass(frozen=True, eq=False)
class Vocabulary:
    """A vocabulary: a given file, or to be built by a command from datasets with their steps."""

    path: Path
    command: Command = ()
    config: Config = field(default_factory=dict)
    sources: tuple[tuple[Place, int], ...] = ()

    @property
    def split(self) -> str:
        """The side that it is built from."""
        return str(self.config["split"])

    @property
    def stores(self) -> str:
        """desc_name of its stores."""
        return str(self.config["stores"] or self.config["desc_name"])


@dataclass(frozen=True, eq=False)
class Plan:
    """A whole run. left_out: rerankers and datasets that are not run, and why.

    unloadable: of "local" and "global", the networks without weights, whose files are complete.
    """

    config: Config
    steps: Steps
    rerankers: tuple[str, ...]
    left_out: dict[str, str]
    places: tuple[Place, ...] = ()
    unloadable: tuple[str, ...] = ()

    @property
    def from_images(self) -> bool:
        """Whether the global descriptors have a backbone of their own."""
        return _global_desc_name(self.config) != self.config["desc_name"]

    @property
    def with_cls(self) -> bool:
        """Whether the pass that makes the local descriptors gives the global ones too."""
        return self.config["global"] == "cls" and not self.from_images

    @property
    def vocabularies(self) -> list[Vocabulary]:
        """Each once."""
        found = [place.vocabulary for place in self.places if place.vocabulary is not None]
        return list({one.path: one for one in found}.values())

    def extract_local(self, place: Place, splits: Sequence[str] = SIDES) -> Command:
        """Local descriptors, and in the same pass the CLS token where that makes the lists."""
        name, arguments = (self.config["backbone"][key] for key in ("name", "arguments"))
        plain = compose("extract_descriptors", [f"backbone={name}"])["backbone"]["arguments"]
        changed = {f"backbone.arguments.{k}": v for k, v in arguments.items() if v != plain[k]}
        given = [word("desc_name", self.config["desc_name"]), f"backbone={name}"]
        given += [word(key, value) for key, value in changed.items()]
        return self._extract(place, [*given, *["outputs=[local]"] * (not self.with_cls)], splits)

    def extract_for_vocabulary(self, vocabulary: Vocabulary, place: Place) -> Command:
        """The stores that a vocabulary is built from, by the recipe's extraction if it has one."""
        extraction, splits = vocabulary.config.get("extraction"), (vocabulary.split,)
        if extraction is None:
            return self.extract_local(place, splits)
        given = [word("desc_name", vocabulary.stores), *map(str, extraction), *self._weights()]
        return self._extract(place, given, splits)

    def extract_global(self, place: Place) -> Command:
        """Global descriptors: of the local ones, or of images by a backbone of their own."""
        kind, given = self.config["global"], [word("desc_name", place.globals.desc_name)]
        if self.from_images:
            given += [*map(str, self.config["global_extraction"]), *self._weights()]
            size, key = place.dataset.get("published_size"), "backbone.arguments.image_size"
            if self.config["published_size"] and size:
                given = [*(w for w in given if not w.startswith(f"{key}=")), word(key, size)]
        if kind == "cls":
            return self._extract(place, [*given, "outputs=[global]"])
        given.append(word("global", kind))
        if self.from_images:
            given += ["source=images", *words(self.config, *OF_EXTRACTION)]
        if place.vocabulary is not None:
            given.append(word("vocabulary", str(place.vocabulary.path)))
        return ("extract_globals", *place.words, *given)

    def search(self, place: Place) -> Command:
        """Neighbour lists."""
        given = [word("desc_name", place.globals.desc_name)]
        given += words(self.config, "global", "num_neighbors", "device")
        return ("prepare_topk_global", *place.words, *given)

    def rerank(self, place: Place, reranker: str, neighbors: str, *more: str) -> Command:
        """An evaluation. neighbors: a kind or a path; more: overrides of this evaluation alone."""
        config, own = self.config, self.config[reranker]
        of_model = ("tuned",) if own["tuned"] is not None else ("lamb", "temp")
        given = [f"model={reranker}", word("desc_name", config["desc_name"])]
        given += [word("neighbors", neighbors), *words(own, "weights", *of_model)]
        given += words(config, "num_rerank", "device", "seed", *OF_SCORING)
        return ("evaluate", *place.words, *given, f"precision={config['score_precision']}", *more)

    def _extract(self, place: Place, given: list[str], splits: Sequence[str] = SIDES) -> Command:
        options = [word("splits", list(splits)), *words(self.config, *OF_EXTRACTION)]
        return ("extract_descriptors", *place.words, *given, *options)

    def _weights(self) -> list[str]:
        """Weights of the global descriptors' backbone."""
        return words({"backbone.arguments.weights": self.config["global_weights"]})


def make_plan(config: Config) -> Plan:
    """The plan of a configuration. Raises ConfigError for what does not go together."""
    kind, name = config["global"], _global_desc_name(config)
    if kind not in KINDS:
        raise ConfigError(f"global={kind}", expected=f"one of {', '.join(KINDS)}")
    plan = Plan(config, Steps(data_root(config)), *choose_rerankers(config))
    plan = replace(plan, places=_places(config))
    given = config["global_extraction"]
    if not plan.from_images and given:
        expected = "global_desc_name=<another prefix>, or no global_extraction="
        what = "global_extraction= is given without global_desc_name="
        raise ConfigError(what, expected=expected)
    if plan.from_images and not any(text.startswith("backbone=") for text in given):
        what = f"global_desc_name={name}: nothing says what makes them"
        raise ConfigError(what, expected="global_extraction=[backbone=<name>, …]")
    return _with_vocabularies(plan) if kind == "vlad" else plan


def choose_rerankers(config: Config) -> tuple[tuple[str, ...], dict[str, str]]:
    """Those that are run, and why others are not: heads without weights are run only if asked for.

    Raises ConfigError for names that do not exist.
    """
    asked = config["rerankers"]
    unknown = [name for name in asked or () if name not in RERANKERS]
    if unknown or asked == [] or len(set(asked or ())) < len(asked or ()):
        raise ConfigError(f"rerankers={asked}", expected=f"some of {', '.join(RERANKERS)}, once")
    if asked is not None:
        return tuple(asked), {}
    without = [name for name in RERANKERS if name in HEADS and config[name]["weights"] is None]
    left_out = {name: f"no weights are given ({name}.weights=)" for name in without}
    return tuple(name for name in RERANKERS if name not in left_out), left_out


def parse_set(text: object) -> tuple[str, bool]:
    """A dataset, and whether it is its other direction.

    >>> parse_set("amstertime:swap"), parse_set("oxford")
    (('amstertime', True), ('oxford', False))
    """
    name, _, more = str(text).partition(":")
    if not name or more not in ("", "swap"):
        raise ConfigError(f"sets has '{text}'", expected="<data set>, or <data set>:swap")
    return name, bool(more)


def _places(config: Config) -> tuple[Place, ...]:
    if not config["sets"]:
        fitting = [name for name in experiments_of("place_recognition") if name.startswith("a")]
        expected = f"sets=[<data set>, …] or experiment= one of {', '.join(fitting)}"
        raise ConfigError("sets= is not given", expected=expected)
    parsed = [parse_set(text) for text in config["sets"]]
    if len(set(parsed)) < len(parsed):
        raise ConfigError(f"sets={config['sets']}", expected="each set once")
    return tuple(_open_place(config, *one) for one in parsed)


def _open_place(config: Config, name: str, swapped: bool = False) -> Place:
    if name not in options_of("dataset"):
        known = ", ".join(options_of("dataset"))
        raise ConfigError(f"there is no data set '{name}'", expected=f"some of {known}")
    named = (f"dataset={name}", *["swap=true"] * swapped)
    composed = compose("evaluate", [*named, *words(config, "desc_name", "data_root")])
    files = dataset_files(composed)
    globals_ = replace(files, desc_name=_global_desc_name(config))
    return Place(named, composed["dataset"], files, globals_)


def _global_desc_name(config: Config) -> str:
    return str(config["global_desc_name"] or config["desc_name"])


def _with_vocabularies(plan: Plan) -> Plan:
    """Each place gets the vocabulary that is given, the recipe's, or one of its own."""
    config, shared = plan.config, None
    if config["vocabulary"] is not None:
        shared = Vocabulary(Path(config["vocabulary"]).expanduser())
    elif plan.from_images and config["vocabulary_recipe"] is None:
        what = f"no vocabulary for global_desc_name={_global_desc_name(config)}"
        raise ConfigError(what, expected="vocabulary=<file>, or vocabulary_recipe=<of conf/recipe>")
    else:
        shared = _built(plan)
    with_them = [replace(place, vocabulary=shared or _built(plan, place)) for place in plan.places]
    return replace(plan, places=tuple(with_them))


def _built(plan: Plan, place: Place | None = None) -> Vocabulary | None:
    """The recipe's vocabulary: of its sources, or else of a place's own gallery."""
    config, recipe = plan.config, plan.config["vocabulary_recipe"] or "own"
    given = [*(place.words if place else ()), f"recipe={recipe}"]
    if recipe == "own":
        given += [word("desc_name", config["desc_name"]), "split=gallery"]
    command = ("build_vocabulary", *given, *map(str, config["vocabulary_options"]))
    made = plan.steps.config(*command)
    parsed = [parse_source(text) for text in made["sources"]]
    sources = [(_open_place(config, name), step) for name, step in parsed]
    sources = sources or ([(place, 1)] if place else [])
    if not sources:
        return None
    domain = made["domain"] or "+".join(one.files.folder for one, _ in sources)
    files = replace(plan.places[0].files, desc_name=made["desc_name"])
    return Vocabulary(files.vocabulary_path(domain), command, made, tuple(sources))
