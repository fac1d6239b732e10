"""What the commands that search a folder of images share: its index, and the ranking."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from glob import escape
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

from ames_lite.cli.answers import Answers, read_answers
from ames_lite.cli.evaluate import choose_ensemble, open_scorer, open_weights
from ames_lite.cli.extraction import configured_backbone
from ames_lite.cli.schema.evaluation import Searching
from ames_lite.cli.schema.jobs import Rerank
from ames_lite.cli.schema.keys import some_of
from ames_lite.cli.scoring_run import settled
from ames_lite.cli.shell import data_root
from ames_lite.errors import BadInput, ConfigError, MissingFile, check_config, explained, require
from ames_lite.extraction.backbones.interface import Backbone
from ames_lite.hub import shipped_head
from ames_lite.io.checkpoint import HeadMeta
from ames_lite.io.digest import names_digest
from ames_lite.io.shipped import shipped
from ames_lite.models import HEADS
from ames_lite.reranking.cascade import Cascade
from ames_lite.reranking.scorer import PairScorer, ScoringOptions
from ames_lite.runtime import pick_device
from ames_lite.search.databases.database import VectorDatabase, is_address, open_database
from ames_lite.search.databases.gallery import check_database, update_database
from ames_lite.search.image_search import FirstStage, Ranker
from ames_lite.search.index import OpenIndex
from ames_lite.search.indexing import Indexed, index_images
from ames_lite.search.session import Session
from ames_lite.stores.descriptor_store import say_empty

# λ, γ of baselines by descriptors, chosen on the validation sets of the released heads
BASELINES = {
    "photo": {"chamfer": (0.1, 2.0), "mutual_nn": (0.4, 0.02), "ransac": (0.3, 0.02)},
    "sift": {"mutual_nn": (0.3, 0.1), "ransac": (0.2, 0.02)},
}
REMEDY = (
    "of a whole checkout backbone=photo model=elvis, or backbone=sift model=elvis or ames; or "
    "weights=<folder> of a head of your own: make demo trains one in minutes "
    "(runs/demo_…/train); or model=ransac, which needs none"
)
ALL = 1 << 20  # descriptors: more than any image has
NAMED = 20  # images that are named on the screen


class Model(NamedTuple):
    """role: where λ and γ come from."""

    ranker: Ranker
    role: str
    answers: Answers

    def __str__(self) -> str:
        ranker = self.ranker
        return f"{ranker.scorer.name}: λ {ranker.lamb:g}, γ {ranker.temp:g} ({self.role})"


@dataclass(frozen=True)
class Folder:
    """A folder that can be searched."""

    images: Path
    index: Path
    backbone: Backbone
    model: Model | None  # None: it was only indexed
    failed: dict[str, str]  # images that cannot be described, and why; of update=true
    database: VectorDatabase | None = None  # that has the global vectors

    def close(self) -> None:
        if self.database is not None:
            self.database.close()


def open_folder(config: Searching, ranks: bool = True, certain: float | None = None) -> Folder:
    """The folder of `images=` with its index up to date; ranks: candidates are ranked too."""
    images, database = images_folder(config.images), _open_database(config)
    backbone, model = open_model(config, ranks, certain)
    index, failed = index_folder(config, images), {}
    if config.update:
        how = some_of(config, ("code_bytes", "workers", "rebuild"))
        released = released_vocabulary(config.backbone.name, config.model.name)
        vocabulary = config.vocabulary or released
        indexed = index_images(images, index, backbone, vocabulary=vocabulary, **how)
        _say_indexed(indexed)
        failed = indexed.failed
    elif ranks:
        with OpenIndex(index) as opened:
            say_without_descriptors(opened.empty(), len(opened))
    if database is not None:
        with OpenIndex(index) as opened:
            _fill_database(opened, database, config.update)
        if model is not None:
            ranker = replace(model.ranker, database=database, filter=config.filter)
            model = model._replace(ranker=ranker)
    return Folder(images, index, backbone, model, failed, database)


def _open_database(config: Searching) -> VectorDatabase | None:
    """The collection that index= names, before anything is described."""
    if config.index is not None and is_address(config.index):
        return open_database(config.index, create=config.update)
    expected = "index=<an address of a database>"
    check_config(config.filter is None, "filter= is for databases", expected)
    return None


def _fill_database(index: OpenIndex, database: VectorDatabase, update: bool) -> None:
    if not update:
        check_database(index, database)
        return
    done = update_database(index, database)
    said = f"{done.written} written, {done.removed} removed"
    print(f"database: {done.total} vectors, {said}: {database.where}")


def open_model(
    config: Searching, ranks: bool = True, certain: float | None = None
) -> tuple[Backbone, Model | None]:
    """The backbone, and what ranks candidates (None: ranks is False)."""
    described = "fp32" if config.precision == "auto" else config.precision
    backbone = configured_backbone(config.backbone, config, described)
    if not ranks:
        return backbone, None
    model = _model(settled(config, pick_device(config.device)), certain)
    first = model.ranker.first
    for scorer in (model.ranker.scorer, *([] if first is None else [first.scorer])):
        if scorer.check is not None:
            scorer.check(backbone.provenance, "this run")
    return backbone, model


def session_of(folder: Folder) -> Session:
    """Searches of a folder that was opened to rank."""
    assert folder.model is not None
    ranker, _, answers = folder.model
    return Session(folder.images, folder.index, folder.backbone, ranker, answers.absent)


def check_served(port: int, extra: str, packages: Sequence[str]) -> None:
    """Raises ConfigError where a package of the extra is missing, and for what is no port."""
    for package in packages:
        what, expected = f"{package} is not installed", f"the extra ames_lite[{extra}]"
        remedy = f"pip install 'ames_lite[{extra}]'"
        check_config(find_spec(package), what, expected, remedy=remedy)
    check_config(0 <= port < 1 << 16, f"port={port}", "a port, 0 to 65535")


def check_bad_images(config: Searching, bad: Mapping[str, str]) -> None:
    """Raises BadInput where some cannot be described and on_bad_image=error."""
    if bad and config.on_bad_image == "error":
        listed = "\n".join(f"  {name}: {why}" for name, why in bad.items())
        remedy = "mend or remove them, or on_bad_image=skip"
        raise BadInput(f"{len(bad)} images cannot be described:\n{listed}", remedy=remedy)


def index_folder(config: Searching, images: Path) -> Path:
    """`index=`, or the place below data_root, also beside a database."""
    if config.index is not None and not is_address(config.index):
        return Path(config.index).expanduser().absolute()
    place = f"{images.name}_{names_digest([str(images)])[:8]}"
    return data_root(config) / "search" / place / config.backbone.name


def images_folder(given: Path | None, key: str = "images") -> Path:
    if given is None:
        expected = "images=<folder> query=<image or folder>"
        raise ConfigError("images= is not given", expected=expected)
    told: Any = {"where": given.absolute(), "expected": "a folder"}
    require(not given.is_file(), f"{key}= is a file", **told)
    require(given.is_dir(), "the folder of images is missing", kind=MissingFile, **told)
    return given.absolute()


def released_vocabulary(desc_name: str, model: str) -> Path | None:
    """The VLAD vocabulary beside that head; of a model without one, beside ames; None: none."""
    folders = (shipped(f"{desc_name}_{name}") for name in (model, "ames"))
    of_desc = f"vlad_{escape(desc_name)}_*.npz"
    return next((path for folder in folders for path in sorted(folder.glob(of_desc))), None)


class Head(NamedTuple):
    """role: where λ and γ come from; weights: None: it needs none."""

    scorer: PairScorer
    meta: HeadMeta
    lamb: float
    temp: float
    role: str
    weights: Path | None


def open_head(config: Searching | Rerank, desc_name: str) -> Head:
    """The head of `model=` and `weights=`, by default the shipped one, with its λ and γ."""
    name, weights = config.model.name, config.weights
    needs_weights = name in HEADS and HEADS[name].marker is not None
    if needs_weights and weights is None:
        weights = shipped_head(f"{desc_name}_{name}", REMEDY)
    scorer, meta = open_scorer(config.model, desc_name, weights)
    own = config.lamb is None and config.temp is None
    known = BASELINES.get(desc_name, BASELINES["sift"])
    if name in known and own:
        return Head(scorer, meta, *known[name], "chosen on a validation set", weights)
    (lamb,), (temp,), tuned_on, _ = choose_ensemble(config, meta)
    chosen = f", chosen on {tuned_on}" if tuned_on else ""
    role = f"frozen with the head{chosen}" if own else "given"
    return Head(scorer, meta, lamb, temp, role, weights)


def _model(config: Searching, certain: float | None) -> Model:
    scorer, meta, lamb, temp, role, weights = open_head(config, config.backbone.name)
    own = config.lamb is None and config.temp is None
    counts = (config.query_desc_num or ALL, config.gallery_desc_num or ALL)
    device = str(pick_device(config.device))
    options = ScoringOptions(*counts, precision=config.precision, device=device)
    answers = read_answers(replace(config, weights=weights), meta, own, certain)
    ranker = Ranker(scorer, lamb, temp, config.num_rerank, answers.certain, options)
    if config.cascade is not None:
        ranker = replace(ranker, first=_first_stage(config, config.cascade, meta, weights))
    return Model(ranker, role, answers)


def _first_stage(
    config: Searching, cheap: Path, meta: HeadMeta, weights: Path | None
) -> FirstStage:
    """The head of cascade=, of which the other one has learnt. Raises BadInput, ConfigError."""
    name = config.backbone.name
    scorer, _ = open_weights(cheap, name)
    remedy = f"python scripts/tune.py desc_name={name} dataset=<validation set> "
    remedy += f"weights={weights or '<head>'} cascade={cheap}"
    with explained(where=weights, remedy=remedy):
        known = None if meta.cascade is None else Cascade.from_json(meta.cascade)
    if known is None or known.weights != scorer.digest:
        what = f"cascade={cheap}, but the head has learnt nothing of it"
        expected = "a head that was tuned with it"
        raise ConfigError(what, where=weights, expected=expected, remedy=remedy)
    return FirstStage(scorer, known)


def _say_indexed(indexed: Indexed) -> None:
    for note in indexed.notes:
        print(note)
    counts = ((what, getattr(indexed.changes, what)) for what in ("new", "changed", "gone"))
    said = ", ".join(f"{count} {what}" for what, count in counts if count)
    print(f"index: {indexed.total} images, {said or 'nothing new'}: {indexed.folder}")
    say_failed(indexed.failed, f"of {indexed.total} images cannot be described")
    say_without_descriptors(indexed.empty, indexed.total)


def say_without_descriptors(names: Sequence[str], total: int, what: str = "images") -> None:
    if names:
        print(say_empty(names, total, what))


def say_failed(failed: Mapping[str, str], what: str) -> None:
    if failed:
        print(f"{len(failed)} {what} and {'is' if len(failed) == 1 else 'are'} left out:")
        for name, reason in list(failed.items())[:NAMED]:
            print(f"  {name}: {reason}")
        if len(failed) > NAMED:
            print(f"  and {len(failed) - NAMED} more (a report.html lists all)")
