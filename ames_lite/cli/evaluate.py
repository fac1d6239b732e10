"""`python scripts/evaluate.py`: stores and neighbour lists in, results.json and a report out."""

import json
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

from ames_lite.cli.compose import as_dict, given_words
from ames_lite.cli.results import Lines, exports_of, finish
from ames_lite.cli.schema.evaluation import Evaluate, Scored, Searching
from ames_lite.cli.schema.jobs import Rerank
from ames_lite.cli.schema.keys import Named
from ames_lite.cli.scoring_run import SCORES, run_folder, scores_in, scoring
from ames_lite.cli.shell import RESULTS, as_list, dataset_files, protocol_of, run_dir, run_prefix
from ames_lite.datasets.layout import DatasetFiles
from ames_lite.errors import ConfigError, MissingFile, check_config
from ames_lite.evaluation import data as read
from ames_lite.evaluation.data import EvaluationData, find_files
from ames_lite.evaluation.evaluator import Work, report, report_global, reuse
from ames_lite.evaluation.protocols import Protocol
from ames_lite.evaluation.results_file import NO_MODEL, NO_SCORES, role_of
from ames_lite.evaluation.tuning import Tuned, grid, read_tuned
from ames_lite.hub import ENTRIES, names_for
from ames_lite.io.checkpoint import HeadMeta, is_native, load_head
from ames_lite.io.digest import file_digest
from ames_lite.io.overrides import paste
from ames_lite.models import HEADS, build_head
from ames_lite.models.published import PUBLISHED_HEADS, list_ensembles, of_its_form
from ames_lite.processes import Processes
from ames_lite.records import PairScores
from ames_lite.reranking.ensemble import check_ensemble
from ames_lite.reranking.scorer import Cost, PairScorer, ScoringOptions, verifier_scorer

NUM_RERANK = 400  # where neither num_rerank= nor a tuned choice says
Opened = tuple[PairScorer, HeadMeta]  # a head and what is known of it
OF_RERANKING = ("weights", "num_rerank", "lamb", "temp", "tuned", "scores")


def run(config: Evaluate, comparisons: Lines = ()) -> dict[str, Any]:
    """Evaluate as configured; returns the results. comparisons: further lines of the report. Of
    several processes all but the first return {}: they only score.
    """
    with scoring(config) as (config, processes, options):
        if config.model.name == NO_MODEL:
            return _evaluate_lists(config, comparisons) if processes.first else {}
        return _run(config, comparisons, processes, options)


def _evaluate_lists(config: Evaluate, comparisons: Lines) -> dict[str, Any]:
    """`model=none`: neighbour lists as they are. No descriptor is opened."""
    given = [key for key in OF_RERANKING if getattr(config, key) is not None]
    what = f"{', '.join(given)} given with model={NO_MODEL}, which reranks nothing"
    check_config(not given, what, f"model={NO_MODEL} alone, or another model")
    files, protocol = dataset_files(config), protocol_of(config)
    whole = bool(exports_of(config, protocol)[0])
    data = read.load_lists(files, protocol, config.neighbors, whole=whole, unlabelled=whole)
    results = report_global(data, as_dict(config))
    folder = run_dir(config, run_prefix(config, "evaluate"), RESULTS)
    return finish(config, folder, data, NO_SCORES, results, comparisons)


def _run(
    config: Evaluate, comparisons: Lines, processes: Processes, options: ScoringOptions
) -> dict[str, Any]:
    files, protocol = dataset_files(config), protocol_of(config)
    whole = bool(exports_of(config, protocol)[0])
    numbers, scorer, ensemble = _check(config, files)
    data, numbers = open_data(files, protocol, config.neighbors, numbers, processes, whole=whole)
    lambs, temps, tuned_on, source = ensemble
    if processes.first and source != "given":  # on the command line
        print(ensemble)
    work = Work(data, scorer, max(numbers), options)
    folder, scores, cost = _scores_of(config, work, processes)
    if not processes.first:
        return {}
    rows = grid(data, scores, num_reranks=numbers, lambs=lambs, temps=temps)
    role, plain = role_of(config.dataset.role, len(lambs) * len(temps), tuned_on), as_dict(config)
    results = report(work, scores, cost, rows, tuned_on=tuned_on, role=role, config=plain)
    results["ensemble_source"] = source
    views = work.views() if config.report_pairs else None
    return finish(config, folder, data, scores, results, comparisons, views)


class Ensemble(NamedTuple):
    """Values of λ and γ, what they were tuned on, and where they come from, in words."""

    lambs: list[float]
    temps: list[float]
    tuned_on: str | None
    source: str

    def __str__(self) -> str:
        values = (" ".join(f"{value:g}" for value in values) for values in self[:2])
        chosen = f", chosen on {self.tuned_on}" if self.tuned_on else ""
        return "λ {}, γ {}: {}{}".format(*values, self.source, chosen)


def check(config: Evaluate) -> tuple[list[int], PairScorer, Ensemble]:
    """num_rerank, scorer, λ and γ; no data are read. Raises where one is missing or misfits."""
    tuned = None if config.tuned is None else read_tuned(config.tuned)
    numbers = numbers_of(config.num_rerank, tuned)
    scorer, meta = open_scorer(config.model, config.desc_name, config.weights)
    if tuned is not None and config.tuned is not None:
        tuned.check(scorer.name, scorer.digest, config.tuned)
    published = config.weights is not None and not is_native(config.weights)
    form = of_its_form(scorer.model.arguments) if published else None
    return numbers, scorer, choose_ensemble(config, meta, tuned, form)


def _check(config: Evaluate, files: DatasetFiles) -> tuple[list[int], PairScorer, Ensemble]:
    """Raises where anything is missing or does not fit; all that is missing is one message."""
    try:
        checked = check(config)
    except ConfigError as error:
        try:
            find_files(files, config.neighbors)
        except MissingFile as missing:
            raise ConfigError(f"{error}\n{missing}") from error
        raise
    find_files(files, config.neighbors)
    return checked


def open_data(
    files: DatasetFiles,
    protocol: Protocol,
    neighbors: str,
    numbers: Sequence[int],
    processes: Processes,
    *,
    whole: bool = False,
) -> tuple[EvaluationData, list[int]]:
    """The data of a configuration, and num_rerank within its neighbour lists. The first process
    says where that changes, and what else a reader of the numbers must know.
    """
    data = read.load_data(files, protocol, neighbors, max(numbers), whole=whole)
    longest = data.neighbors.ids.shape[1]
    if processes.first:
        if max(numbers) > longest:
            print(f"num_rerank={max(numbers)} is more than the gallery: {longest} are reranked")
        _say_queries(data)
    return data, list(dict.fromkeys(min(n, longest) for n in numbers))


def _say_queries(data: EvaluationData) -> None:
    """How many queries have no positive, or more than their list has images, and what follows."""
    of, protocol = len(data.ground_truth.query_names), data.protocol
    without, short = (
        ", ".join(f"{num} of {of} ({setting})" for setting, num in found.items() if num)
        for found in (read.excluded(data), read.short_lists(data))
    )
    if without:
        fate = "counted as misses" if protocol.misses else "left out of the means"
        print(f"queries without positives, {fate}: {without}")
    if short:
        ways = ["all positives (ap_divisor=official)", "the images listed (ap_divisor=published)"]
        here, other = reversed(ways) if protocol.divides_by_listed else ways
        print(
            f"the lists have {data.neighbors.ids.shape[1]} images, some queries more positives, "
            f"{short}: their AP divides by {here}, not by {other}"
        )


def _scores_of(config: Evaluate, work: Work, processes: Processes) -> tuple[Path, PairScores, Cost]:
    """The run directory, and the scores: of `scores=`, or of this run, resumed or not."""
    if config.scores is None:
        folder = run_folder(config, "evaluate", processes, RESULTS)
        return folder, *scores_in(folder, work, processes)
    path = config.scores / SCORES if config.scores.is_dir() else config.scores
    scores, cost = reuse(work, path)
    return run_folder(config, "evaluate", processes, RESULTS), scores, cost


def numbers_of(given: object, tuned: Tuned | None = None) -> list[int]:
    """`num_rerank=`; null: what was tuned, else NUM_RERANK."""
    if given is None:
        return [NUM_RERANK if tuned is None else tuned.num_rerank]
    numbers = [int(n) for n in as_list(given)]
    fine = numbers and min(numbers) >= 1
    check_config(fine, f"num_rerank={given}", "numbers of at least 1")
    return numbers


def open_scorer(model: Named, desc_name: str, weights: Path | None) -> Opened:
    """The head at weights=, or what model= names where that needs no weights."""
    name, arguments = model.name, model.arguments
    if name in HEADS and HEADS[name].marker is not None:
        return _open_weights(name, desc_name, weights)
    check_config(weights is None, f"model={name} takes no weights=", "no weights=")
    if name not in HEADS:
        return verifier_scorer(name, **arguments), HeadMeta()
    settings = f"{name} {json.dumps(arguments, sort_keys=True)}"
    return PairScorer(build_head(name, **arguments), name, settings), HeadMeta()


def _open_weights(name: str, desc_name: str, path: Path | None) -> Opened:
    if path is None or not path.exists():
        known = [
            f"weights={one}" + " trust=true" * (ENTRIES[one].address is not None)
            for one in names_for(desc_name, name)
        ]
        what = f"model={name} needs trained weights"
        where = "weights= is not given" if path is None else f"{path.absolute()} is not there"
        expected = " or ".join(["weights=<folder of a training run, or a published .pt>", *known])
        remedy = f"python scripts/train.py desc_name={desc_name}"
        remedy += f" model={name}" if name != "ames" else ""
        raise ConfigError(what, where=where, expected=expected, remedy=remedy)
    return open_weights(path, desc_name, name)


def open_weights(path: Path, desc_name: str, name: str | None = None) -> Opened:
    """The head of these weights. Raises ConfigError for another head or other descriptors."""
    head, meta = load_head(path)
    is_of = next(other for other in HEADS if type(head) is HEADS[other])
    what = f"the weights are of the head '{is_of}', model is '{name}'"
    check_config(name in (None, is_of), what, f"model={is_of}, or other weights", where=path)
    what = f"the head was trained on '{meta.desc_name}', desc_name is '{desc_name}'"
    expected = f"desc_name={meta.desc_name}, or another head"
    check_config(meta.desc_name in (None, desc_name), what, expected, where=path)
    weights = path / "weights.safetensors" if path.is_dir() else path
    check = partial(meta.check_descriptors, path)
    return PairScorer(head, is_of, file_digest(weights), check), meta


def choose_ensemble(
    config: Scored | Searching | Rerank,
    meta: HeadMeta,
    tuned: Tuned | None = None,
    form: str | None = None,
) -> Ensemble:
    """As given, from `tuned=`, or as known of the weights. form: the published head that these
    weights have the form of, for the message where neither is known.
    """
    known, tuned_on = (meta.lamb, meta.temp), meta.provenance.get("tuned_on")
    source = str(meta.provenance.get("ensemble", "of the weights' meta.json"))
    if tuned is not None:
        known, tuned_on, source = (tuned.lamb, tuned.temp), tuned.tuned_on, "of tuned="
    given = [key for key in ("lamb", "temp") if getattr(config, key) is not None]
    if given:
        tuned_on = None
        source = "given" if len(given) == 2 else f"{given[0]} given, the other {source}"
    pairs = zip((config.lamb, config.temp), known, strict=True)
    lamb, temp = (own if one is None else one for one, own in pairs)
    if lamb is None or temp is None:
        raise _unknown_ensemble(config, form)
    lambs, temps = ([float(v) for v in as_list(values)] for values in (lamb, temp))
    for cell in product(lambs, temps):  # refused before the scoring, not after it
        check_ensemble(*cell)
    return Ensemble(lambs, temps, tuned_on, source)


def _unknown_ensemble(config: Scored | Searching | Rerank, form: str | None) -> ConfigError:
    remedy = "choose them on a validation set: python scripts/tune.py weights=<folder>"
    expected = "lamb=<0 to 1> temp=<above 0>; files of these names have the published ones: "
    expected += list_ensembles()
    if form is not None:
        _, _, lamb, temp = PUBLISHED_HEADS[form]
        words = given_words(replace(config, lamb=lamb, temp=temp))
        remedy = paste("scripts/evaluate.py", words)
        expected += f"; these weights have the form of {form}"
    what = "λ and γ are unknown: the weights do not carry them"
    return ConfigError(what, where=config.weights, expected=expected, remedy=remedy)
