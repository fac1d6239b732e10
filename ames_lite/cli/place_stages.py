"""The stages of a place_recognition run: the commands of each dataset, and the files they fill."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

from ames_lite.cli import build_vocabulary
from ames_lite.cli.compose import compose, experiments_of
from ames_lite.cli.evaluate import numbers_of
from ames_lite.cli.remedies import Files
from ames_lite.cli.schema.evaluation import OfHead, PlaceRecognition
from ames_lite.cli.schema.extraction import BuildVocabulary
from ames_lite.cli.shell import data_root, dataset_files, find_vocabulary
from ames_lite.cli.steps import Steps, words
from ames_lite.datasets.relation import SIDES
from ames_lite.errors import MissingFile, UserError, check_config
from ames_lite.evaluation.protocols import get_protocol
from ames_lite.evaluation.results_file import NO_MODEL
from ames_lite.evaluation.tuning import read_tuned
from ames_lite.extraction.neighbors import check_topk
from ames_lite.io.overrides import word
from ames_lite.models import HEADS
from ames_lite.stores.descriptor_store import DescriptorStore
from ames_lite.stores.global_store import GlobalStore
from ames_lite.stores.published.neighbors import is_pickle
from ames_lite.stores.published.store import is_published

RERANKERS = ("ames", "elvis", "mutual_nn", "ransac")
WITHOUT = [NO_MODEL]  # rerankers= of a table of global rankings
OF_EXTRACTION = ("workers", "device", "precision", "batch_pixels", "on_bad_image")
OF_REPORT = ("report_queries", "seed")
OF_SCORING = ("query_desc_num", "gallery_desc_num", "max_memory", "threads", "report_queries")
OF_LOCAL, OF_GLOBAL = "local descriptors", "global descriptors"  # networks
Command = tuple[str, ...]  # its name, then overrides
Texts = Sequence[str]


def named(place: Files) -> Command:
    return (f"dataset={place.option}", *["swap=true"] * place.swapped)


@dataclass(frozen=True, eq=False)
class Stage:
    """A command. about: what its errors begin with; fills: the stores of each split. network: what
    describes the images; None: they are not read. keep(): the output, if it is there. It raises
    BadInput where this stage makes another.
    """

    about: str
    place: Files
    command: Command = ()
    fills: dict[str, list[Path]] = field(default_factory=dict)
    network: str | None = None
    keep: Callable[[], Path | None] | None = None

    @property
    def unfilled(self) -> list[str]:
        """The splits whose stores are not complete."""
        return [split for split, paths in self.fills.items() if not all(map(is_complete, paths))]


def is_complete(path: Path) -> bool:
    """Whether a store is there and complete, or of the published form."""
    if not path.is_file():
        return False
    try:
        if not is_published(path):
            (DescriptorStore if path.stem.endswith("_local") else GlobalStore)(path).close()
    except UserError:  # cut short, unfinished, foreign: the stage that fills it says so
        return False
    return True


class Pipeline:
    """The stages of a run. left_out: rerankers and datasets that are not run, and why."""

    def __init__(self, config: PlaceRecognition) -> None:
        self.config, self.steps = config, Steps(data_root(config))
        self.rerankers, self.left_out = _rerankers(config)
        self.reranks = self.rerankers != WITHOUT
        self.global_desc_name = config.global_desc_name or config.desc_name
        # the global descriptors have a backbone of their own
        self.from_images = self.global_desc_name != config.desc_name
        # the pass that makes the local descriptors gives the global ones too
        self.with_cls = config.global_ == "cls" and not self.from_images
        self.lists = f"{config.global_} of {self.global_desc_name}"
        self.places = [self.place(*one) for one in _sets(config)]
        _check_globals(config, self.from_images)

    def place(self, name: str, *more: str) -> Files:
        """A dataset. Raises ConfigError for an unknown one."""
        words = (word("dataset", name), word("desc_name", self.config.desc_name), *more)
        return dataset_files(self.steps.config("evaluate", *words))

    def of_globals(self, place: Files) -> Files:
        """The same dataset, by the prefix of the global descriptors."""
        return replace(place, desc_name=self.global_desc_name)

    def stages(self) -> dict[str, list[Stage]]:
        """What each dataset needs, in order; local descriptors only where they are used."""
        shared, found = self._vocabulary(), {}
        for place in self.places:
            path, stages = shared or self._vocabulary(place) or (None, [])
            needed = self.reranks or not self.from_images
            stages = [*[self.extract_local(place)] * needed, *stages]
            stages += [] if self.with_cls else [self.extract_global(place, path)]
            found[place.name] = [*stages, self.search(place)]
        return found

    def extract_local(self, place: Files, splits: Sequence[str] = SIDES) -> Stage:
        """Local descriptors, and in the same pass the CLS token where that makes the lists."""
        name, arguments = self.config.backbone.name, self.config.backbone.arguments
        plain = compose("extract_descriptors", [f"backbone={name}"]).backbone.arguments
        changed = {f"backbone.arguments.{k}": v for k, v in arguments.items() if v != plain[k]}
        given = [f"backbone={name}", *(word(key, value) for key, value in changed.items())]
        kinds = ["local"] * (self.reranks or not self.with_cls) + ["cls"] * self.with_cls
        if len(kinds) == 1:
            given.append(f"outputs=[{'global' if self.with_cls else 'local'}]")
        return self._extract("extract_descriptors", place, kinds, OF_LOCAL, given, splits)

    def extract_global(self, place: Files, vocabulary: Path | None) -> Stage:
        """Global descriptors: of the local ones, or of images by a backbone of their own."""
        config, given, network = self.config, [], None
        if self.from_images:
            network = OF_GLOBAL
            given = [*config.global_extraction, *self._weights()]
            size, key = place.dataset.published_size, "backbone.arguments.image_size"
            if config.published_size and size:
                given = [*(w for w in given if not w.startswith(f"{key}=")), word(key, size)]
        name = "extract_descriptors" if config.global_ == "cls" else "extract_globals"
        if config.global_ == "cls":
            given.append("outputs=[global]")
        else:
            given += [*words(config, "global_"), *["source=images"] * self.from_images]
            given += [word("vocabulary", vocabulary)] if vocabulary else []
        return self._extract(name, self.of_globals(place), [config.global_], network, given, SIDES)

    def _extract(
        self,
        name: str,
        place: Files,
        kinds: Texts,
        network: str | None,
        given: Texts,
        splits: Texts,
    ) -> Stage:
        fills = {split: [place.global_path(split, kind) for kind in kinds] for split in splits}
        command = (name, *named(place), word("desc_name", place.desc_name), *given)
        command += (word("splits", list(splits)), *words(self.config, *OF_EXTRACTION))
        return Stage(place.name, place, command, fills, network)

    def search(self, place: Files) -> Stage:
        given = words(self.config, "global_", "num_neighbors", "device")
        command = ("prepare_topk_global", *named(place), word("desc_name", self.global_desc_name))
        command += tuple(given)
        return Stage(place.name, place, command, keep=partial(self._keep_lists, place, command))

    def rerank(self, place: Files, reranker: str, *more: str) -> Command:
        """An evaluation; more: overrides of this one alone."""
        config, own = self.config, getattr(self.config, reranker, None)
        given = [*named(place), f"model={reranker}", word("desc_name", config.desc_name)]
        if own is None:
            return ("evaluate", *given, *words(config, *OF_REPORT), *more)
        of_model = ["weights"] if isinstance(own, OfHead) else []
        of_model += ["tuned"] if own.tuned is not None else ["lamb", "temp"]
        given += words(own, *of_model)
        given += words(config, "num_rerank", "device", "seed", *OF_SCORING)
        return ("evaluate", *given, f"precision={config.score_precision}", *more)

    def _weights(self) -> list[str]:
        given = self.config.global_weights
        return [] if given is None else [word("backbone.arguments.weights", given)]

    def _vocabulary(self, own: Files | None = None) -> tuple[Path, list[Stage]] | None:
        """A vocabulary and what builds it: given, of the recipe's sources, or of an own gallery."""
        config, first = self.config, self.places[0]
        if config.global_ != "vlad":
            return None
        if config.vocabulary is not None:
            own_config = self.steps.config("build_vocabulary", *named(first))
            find = partial(find_vocabulary, own_config, config.vocabulary)
            return config.vocabulary, [Stage("vocabulary", first, keep=find)]
        recipe = config.vocabulary_recipe or "own"
        given = [f"recipe={recipe}"]
        if recipe == "own":
            given += [word("desc_name", config.desc_name), "split=gallery"]
        command = ("build_vocabulary", *(named(own) if own else ()), *given)
        command += tuple(config.vocabulary_options)
        made = self.steps.config(*command)
        if not made.sources and own is None:
            return None
        sources, path = build_vocabulary.sources_and_path(made)
        keep = partial(build_vocabulary.keep, made, self.steps.text(*command, "overwrite=true"))
        build = Stage("vocabulary", first, command, keep=keep)
        if path.is_file() or (own and made.extraction is None):  # which is extracted anyway
            return path, [build]
        stores = [self._store(own or self.place(one.dataset), path.name, made) for one in sources]
        return path, [*stores, build]

    def _store(self, place: Files, name: str, made: BuildVocabulary) -> Stage:
        """What a vocabulary is built from, by the recipe's extraction if it has one."""
        if made.extraction is None:
            stage = self.extract_local(place, [made.split])
        else:
            place = replace(place, desc_name=made.stores or made.desc_name)
            given = [*made.extraction, *self._weights()]
            how = (["local"], "vocabulary", given, [made.split])
            stage = self._extract("extract_descriptors", place, *how)
        return replace(stage, about=f"{place.name}, of which {name} is built")

    def _keep_lists(self, place: Files, command: Command) -> Path | None:
        """The lists that are there. BadInput: of other descriptors, if they say it."""
        files, kind = self.of_globals(place), self.config.global_
        stores = [files.global_path(side, kind) for side in SIDES]
        try:
            path = files.neighbors(kind)
            names = [files.names(side) for side in SIDES]
        except MissingFile:
            return None
        if is_pickle(path):
            return path
        if not all(map(is_complete, stores)):
            return None
        remedy = self.steps.text(*command, "overwrite=true")
        check_topk(path, stores, names, self._depth(place), remedy)
        return path

    def _depth(self, place: Files) -> int:
        """How long the neighbour lists must be, if the gallery is not shorter."""
        numbers = [get_protocol(str(place.dataset.protocol)).depth]
        for name in self.rerankers if self.reranks else []:
            tuned = getattr(self.config, name).tuned
            numbers += numbers_of(self.config.num_rerank, tuned and read_tuned(tuned))
        return max(numbers)


def _check_globals(config: PlaceRecognition, from_images: bool) -> None:
    given, prefix = config.global_extraction, f"global_desc_name={config.global_desc_name}"
    if not from_images:
        what = f"size={config.size} is of AnyLoc's experiments"
        check_config(config.size is None, what, "experiment=anyloc_…")
        what = "global_extraction= is given without global_desc_name="
        check_config(not given, what, "global_desc_name=<another prefix>, or no global_extraction=")
        return
    named = any(text.startswith("backbone=") for text in given)
    expected = "global_extraction=[backbone=<name>, …]"
    check_config(named, f"{prefix}: nothing says what makes them", expected)
    vocabulary = config.vocabulary or config.vocabulary_recipe or config.global_ != "vlad"
    expected = "vocabulary=<file>, or vocabulary_recipe=<of conf/recipe>"
    check_config(vocabulary, f"{prefix}: no vocabulary", expected)


def _rerankers(config: PlaceRecognition) -> tuple[list[str], dict[str, str]]:
    """Those that run, and why others do not: a head without weights runs only if asked for."""
    asked = config.rerankers
    if asked is not None:
        fine = asked and set(asked) <= set(RERANKERS) and len(set(asked)) == len(asked)
        expected = f"some of {', '.join(RERANKERS)}, once; or [{NO_MODEL}]: the global rankings"
        check_config(fine or asked == WITHOUT, f"rerankers={asked}", expected)
        return asked, {}
    without = [n for n in RERANKERS if n in HEADS and getattr(config, n).weights is None]
    left_out = {name: f"no weights are given ({name}.weights=)" for name in without}
    return [name for name in RERANKERS if name not in left_out], left_out


def _sets(config: PlaceRecognition) -> list[tuple[str, ...]]:
    """The datasets, and swap=true where it is the other direction of one."""
    fitting = [name for name in experiments_of("place_recognition") if name.startswith("a")]
    expected = f"sets=[<dataset>, …] or experiment= one of {', '.join(fitting)}"
    check_config(config.sets, "sets= is not given", expected)
    parsed = [text.partition(":") for text in config.sets]
    for name, colon, more in parsed:
        fine = name and more in ("", "swap")
        check_config(fine, f"sets has '{name}{colon}{more}'", "<dataset>, or <dataset>:swap")
    check_config(len(set(parsed)) == len(parsed), f"sets={config.sets}", "each set once")
    return [(name, *["swap=true"] * bool(more)) for name, _, more in parsed]
