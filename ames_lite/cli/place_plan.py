"""What a run of place_recognition is made of: its sets, its vocabularies, its rerankers.

In: the configuration. Out: a `Plan`; nothing is read but configurations. The convention to know:
whatever the run does is a command that a user would give, so that a plan says it in such words
(`io/overrides.py`); `files_of` finds what the commands write.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from ames_lite.cli.build_vocabulary import parse_source
from ames_lite.cli.compose import Config, compose, experiments_of, options_of
from ames_lite.cli.shell import dataset_files
from ames_lite.datasets.layout import DatasetFiles
from ames_lite.errors import ConfigError
from ames_lite.io.overrides import word
from ames_lite.models import HEADS

RERANKERS = ("ames", "elvis", "mutual_nn", "ransac")
KINDS = ("vlad", "gem", "mean", "cls")
SWAP = "swap"


@dataclass(frozen=True, eq=False)
class Place:
    """A set. words: how a command names it; folder: of its results; dataset: its configuration."""

    words: tuple[str, ...]
    folder: str
    dataset: Config
    files: DatasetFiles  # under desc_name

    @property
    def name(self) -> str:
        """What results.json calls it."""
        return self.files.option


@dataclass(frozen=True, eq=False)
class VocabularyPlan:
    """A vocabulary to be built. words: of extract/build_vocabulary.py; path: what it writes.

    sources: sets with their steps; stores: desc_name of their stores; split: the side that is
    looked at; extraction: what makes the stores, None where they are the run's own.
    """

    words: tuple[str, ...]
    config: Config
    path: Path
    sources: tuple[tuple[Place, int], ...]
    stores: str
    split: str
    extraction: tuple[str, ...] | None


@dataclass(frozen=True, eq=False)
class Plan:
    """All of a run. vocabulary: of a set's global descriptors, by its folder; a path is given.

    rerankers: those that are run; left_out: why others are not.
    """

    config: Config
    places: tuple[Place, ...]
    vocabulary: dict[str, VocabularyPlan | Path]
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
    def vocabularies(self) -> list[VocabularyPlan]:
        """Those to be built, each once."""
        plans = [one for one in self.vocabulary.values() if isinstance(one, VocabularyPlan)]
        return list({one.path: one for one in plans}.values())

    def global_files(self, place: Place) -> DatasetFiles:
        """Where a set's global descriptors and neighbour lists are."""
        return replace(place.files, desc_name=self.global_desc_name)

    def keeping(self, places: Sequence[Place]) -> Plan:
        """The same with fewer sets."""
        kept = {place.folder: self.vocabulary[place.folder] for place in places if self.vocabulary}
        return replace(self, places=tuple(places), vocabulary=kept)


def make_plan(config: Config) -> Plan:
    """The plan of a configuration. Raises ConfigError for what does not go together."""
    if config["global"] not in KINDS:
        raise ConfigError(f"global={config['global']}", expected=f"one of {', '.join(KINDS)}")
    rerankers, left_out = choose_rerankers(config)
    plan = Plan(config, _places(config), {}, rerankers, left_out)
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
    words = (f"dataset={name}", *(["swap=true"] if swapped else []))
    given = [word(key, config[key]) for key in ("desc_name", "data_root") if config[key]]
    composed = compose("evaluate", [*words, *given])
    files = dataset_files(composed)
    return Place(words, f"{name}{'_swapped' if swapped else ''}", composed["dataset"], files)


def _vocabularies(plan: Plan) -> dict[str, VocabularyPlan | Path]:
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


def _vocabulary(plan: Plan, place: Place | None) -> VocabularyPlan:
    """Of a set's own gallery; or what the recipe has as sources, which may be none."""
    config, recipe = plan.config, plan.config["vocabulary_recipe"] or "own"
    words = [*(place.words if place else ()), f"recipe={recipe}"]
    if recipe == "own":
        words += [word("desc_name", config["desc_name"]), "split=gallery"]
    words += [str(option) for option in config["vocabulary_options"]]
    words += data_root_word(config)
    made = compose("build_vocabulary", words)
    parsed = [parse_source(text) for text in made["sources"]]
    sources = [(open_place(config, name), step) for name, step in parsed]
    sources = sources or ([(place, 1)] if place else [])
    domain = made["domain"] or "+".join(one.files.folder for one, _ in sources)
    root = plan.places[0].files
    extraction = made.get("extraction")
    return VocabularyPlan(
        tuple(words),
        made,
        replace(root, desc_name=made["desc_name"]).vocabulary_path(domain),
        tuple(sources),
        stores=made["stores"] or made["desc_name"],
        split=made["split"],
        extraction=None if extraction is None else tuple(map(str, extraction)),
    )


def data_root_word(config: Config) -> list[str]:
    """`data_root=` where it is given."""
    return [] if config["data_root"] is None else [word("data_root", config["data_root"])]
