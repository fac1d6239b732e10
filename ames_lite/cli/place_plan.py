"""Sets, vocabularies and rerankers of a place_recognition run, and the command of every stage.

Nothing is read but configurations. A command is a tuple of its name and its overrides, as `Steps`
runs it; DatasetFiles find what it writes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
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
SWAP = "swap"
OF_EXTRACTION = ("workers", "device", "precision", "batch_pixels", "on_bad_image")
OF_SCORING = ("query_desc_num", "gallery_desc_num", "max_memory", "threads", "report_queries")
Command = tuple[str, ...]  # its name, then overrides


@dataclass(frozen=True, eq=False)
class Place:
    """A set. words: how a command names it; folder: of its results; dataset: its configuration."""

    words: Command
    folder: str
    dataset: Config
    files: DatasetFiles  # under desc_name

    @property
    def name(self) -> str:
        """What results.json calls it."""
        return self.files.option


@dataclass(frozen=True, eq=False)
class Vocabulary:
    """A vocabulary to be built by a command, to a path, from stores of sets with their steps."""

    command: Command
    config: Config
    path: Path
    sources: tuple[tuple[Place, int], ...]

    @property
    def stores(self) -> str:
        """desc_name of its stores."""
        return str(self.config["stores"] or self.config["desc_name"])

    @property
    def split(self) -> str:
        """The side that is looked at."""
        return str(self.config["split"])


@dataclass(frozen=True, eq=False)
class Plan:
    """All of a run. vocabulary: of a set's global descriptors, by its folder; a path is given.

    rerankers: those that are run; left_out: why others are not; steps: runs the commands.
    """

    config: Config
    steps: Steps
    places: tuple[Place, ...]
    vocabulary: dict[str, Vocabulary | Path]
    rerankers: tuple[str, ...]
    left_out: dict[str, str]

    @property
    def global_desc_name(self) -> str:
        """Prefix of the global descriptors' files."""
        return str(self.config["global_desc_name"] or self.config["desc_name"])

    @property
    def from_images(self) -> bool:
        """Whether the global descriptors have a backbone of their own."""
        return self.global_desc_name != self.config["desc_name"]

    @property
    def with_cls(self) -> bool:
        """Whether the pass that makes the local descriptors gives the global ones too."""
        return self.config["global"] == "cls" and not self.from_images

    @property
    def vocabularies(self) -> list[Vocabulary]:
        """Those to be built, each once."""
        plans = [one for one in self.vocabulary.values() if isinstance(one, Vocabulary)]
        return list({one.path: one for one in plans}.values())

    def global_files(self, place: Place) -> DatasetFiles:
        """Where a set's global descriptors and neighbour lists are."""
        return replace(place.files, desc_name=self.global_desc_name)

    def keeping(self, places: Sequence[Place]) -> Plan:
        """The same with fewer sets."""
        kept = {place.folder: self.vocabulary[place.folder] for place in places if self.vocabulary}
        return replace(self, places=tuple(places), vocabulary=kept)

    # ------------------------------------------------------------ commands

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
        kind, given = self.config["global"], [word("desc_name", self.global_desc_name)]
        if self.from_images:
            given += [*map(str, self.config["global_extraction"]), *self._weights()]
            size = place.dataset.get("published_size")
            if self.config["published_size"] and size:
                key = "backbone.arguments.image_size"
                given = [*(w for w in given if not w.startswith(f"{key}=")), word(key, size)]
        if kind == "cls":
            return self._extract(place, [*given, "outputs=[global]"])
        given.append(word("global", kind))
        if self.from_images:
            given += ["source=images", *words(self.config, *OF_EXTRACTION)]
        if kind == "vlad":
            found = self.vocabulary[place.folder]
            path = found if isinstance(found, Path) else found.path
            given.append(word("vocabulary", str(path)))
        return ("extract_globals", *place.words, *given)

    def search(self, place: Place) -> Command:
        """Neighbour lists."""
        given = [word("desc_name", self.global_desc_name)]
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
    if config["global"] not in KINDS:
        raise ConfigError(f"global={config['global']}", expected=f"one of {', '.join(KINDS)}")
    rerankers, left_out = choose_rerankers(config)
    plan = Plan(config, Steps(data_root(config)), _places(config), {}, rerankers, left_out)
    if not plan.from_images and config["global_extraction"]:
        expected = "global_desc_name=<another prefix>, or no global_extraction="
        raise ConfigError(
            "global_extraction= is given without global_desc_name=", expected=expected
        )
    if plan.from_images and not any(w.startswith("backbone=") for w in config["global_extraction"]):
        what = f"global_desc_name={plan.global_desc_name}: nothing says what makes them"
        raise ConfigError(what, expected="global_extraction=[backbone=<name>, …]")
    return replace(plan, vocabulary=_vocabularies(plan)) if config["global"] == "vlad" else plan


def parse_set(text: object) -> tuple[str, bool]:
    """A data set, and whether it is its other direction.

    >>> parse_set("amstertime:swap"), parse_set("oxford")
    (('amstertime', True), ('oxford', False))
    """
    name, _, more = str(text).partition(":")
    if not name or more not in ("", SWAP):
        raise ConfigError(f"sets has '{text}'", expected="<data set>, or <data set>:swap")
    return name, more == SWAP


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
    left_out = {
        name: f"no weights are given ({name}.weights=)"
        for name in RERANKERS
        if name in HEADS and config[name]["weights"] is None
    }
    return tuple(name for name in RERANKERS if name not in left_out), left_out


def _places(config: Config) -> tuple[Place, ...]:
    if not config["sets"]:
        fitting = [name for name in experiments_of("place_recognition") if name.startswith("a")]
        expected = f"sets=[<data set>, …] or experiment= one of {', '.join(fitting)}"
        raise ConfigError("sets= is not given", expected=expected)
    parsed = [parse_set(text) for text in config["sets"]]
    if len(set(parsed)) < len(parsed):
        raise ConfigError(f"sets={config['sets']}", expected="each set once")
    return tuple(open_place(config, *one) for one in parsed)


def open_place(config: Config, name: str, swapped: bool = False) -> Place:
    """A set by its name. Raises ConfigError, with those that exist, for an unknown one."""
    if name not in options_of("dataset"):
        known = ", ".join(options_of("dataset"))
        raise ConfigError(f"there is no data set '{name}'", expected=f"some of {known}")
    named = (f"dataset={name}", *["swap=true"] * swapped)
    composed = compose("evaluate", [*named, *words(config, "desc_name", "data_root")])
    files = dataset_files(composed)
    return Place(named, f"{name}{'_swapped' * swapped}", composed["dataset"], files)


def _vocabularies(plan: Plan) -> dict[str, Vocabulary | Path]:
    """The vocabulary of each set: the one given, the recipe's, or one of its own."""
    config = plan.config
    if config["vocabulary"] is not None:
        path = Path(config["vocabulary"]).expanduser()
        return {place.folder: path for place in plan.places}
    if plan.from_images and config["vocabulary_recipe"] is None:
        what = f"no vocabulary for global_desc_name={plan.global_desc_name}"
        raise ConfigError(what, expected="vocabulary=<file>, or vocabulary_recipe=<of conf/recipe>")
    shared = _vocabulary(plan, None)
    if shared.sources:
        return {place.folder: shared for place in plan.places}
    return {place.folder: _vocabulary(plan, place) for place in plan.places}


def _vocabulary(plan: Plan, place: Place | None) -> Vocabulary:
    """Of a set's own gallery; or what the recipe has as sources, which may be none."""
    config, recipe = plan.config, plan.config["vocabulary_recipe"] or "own"
    given = [*(place.words if place else ()), f"recipe={recipe}"]
    if recipe == "own":
        given += [word("desc_name", config["desc_name"]), "split=gallery"]
    command = ("build_vocabulary", *given, *map(str, config["vocabulary_options"]))
    made = plan.steps.config(*command)
    parsed = [parse_source(text) for text in made["sources"]]
    sources = [(open_place(config, name), step) for name, step in parsed]
    sources = sources or ([(place, 1)] if place else [])
    domain = made["domain"] or "+".join(one.files.folder for one, _ in sources)
    files = replace(plan.places[0].files, desc_name=made["desc_name"])
    return Vocabulary(command, made, files.vocabulary_path(domain), tuple(sources))
