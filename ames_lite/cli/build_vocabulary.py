"""`python extract/build_vocabulary.py`: a VLAD vocabulary.

Input: one data set (`dataset=`), or several with a step each (`sources=[pitts30k:4,st_lucia:1]`),
or a recipe that names them. Output: `vlad_{desc_name}_{domain}.npz` below data_root.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

from ames_lite.cli.compose import Config, compose, options_of
from ames_lite.cli.extraction import names_of_published
from ames_lite.cli.shell import command, dataset_files
from ames_lite.datasets.layout import SPLITS, DatasetFiles, find_all
from ames_lite.errors import ConfigError, MissingFile
from ames_lite.extraction.vocabulary import build_vocabulary
from ames_lite.extraction.vocabulary_sources import Source

SETTINGS = (
    *("num_clusters", "distance", "unit", "seed", "iterations"),
    *("max_images", "sample_per_cluster", "overwrite"),
)


class _Chosen(NamedTuple):
    """A data set with its step, and its files."""

    dataset: str
    step: int
    files: DatasetFiles


def run(config: Config) -> None:
    """Build a vocabulary, named after `domain=`, or after the folders of the data sets."""
    if config["split"] not in SPLITS:
        raise ConfigError(f"split={config['split']}", expected=f"one of {', '.join(SPLITS)}")
    chosen = _chosen(config)
    split, extraction = config["split"], config.get("extraction")
    found = find_all({one.dataset: partial(_store, one, split, extraction) for one in chosen})
    sources = []
    for one in chosen:
        store = found[one.dataset]
        names = names_of_published(one.files, split, store)
        sources.append(Source(store, one.step, names, one.dataset))
    domain = config["domain"] or "+".join(one.files.folder for one in chosen)
    path = build_vocabulary(
        sources,
        dataset_files(config).vocabulary_path(domain),
        **{key: config[key] for key in SETTINGS},
        expected=config.get("expected"),
    )
    print(f"vocabulary: {path}")


def parse_source(text: object) -> tuple[str, int]:
    """A data set and its step from `name:step`; without a step all images are used.

    >>> parse_source("pitts30k:4"), parse_source("gardens")
    (('pitts30k', 4), ('gardens', 1))
    """
    name, _, step = str(text).partition(":")
    if not name or not (step or "1").isdecimal() or int(step or "1") < 1:
        raise ConfigError(
            f"sources has '{text}'",
            expected="<data set>:<step>, as in sources=[pitts30k:4,st_lucia:1]",
        )
    return name, int(step or "1")


def _chosen(config: Config) -> list[_Chosen]:
    """The data sets of sources=, or that of dataset=. Raises ConfigError for unknown ones."""
    store_name = config["stores"] or config["desc_name"]
    config = {**config, "desc_name": store_name}
    if not config["sources"]:
        return [_Chosen(config["dataset"]["option"], 1, dataset_files(config))]
    parsed = [parse_source(text) for text in config["sources"]]
    names = [name for name, _ in parsed]
    unknown = [name for name in names if name not in options_of("dataset")]
    if unknown or len(set(names)) < len(names):
        what = f"there is no data set {', '.join(unknown)}" if unknown else f"sources={names}"
        expected = f"some of {', '.join(options_of('dataset'))}" if unknown else "each once"
        raise ConfigError(what, where="sources=", expected=expected)
    chosen = []
    for name, step in parsed:
        own = f"name={config['name']}"
        dataset = compose("build_vocabulary", [f"dataset={name}", own])["dataset"]
        chosen.append(_Chosen(name, step, dataset_files({**config, "dataset": dataset})))
    return chosen


def _store(one: _Chosen, split: str, extraction: Sequence[str] | None) -> Path:
    """Its store. Raises MissingFile with the command that makes it, as a recipe wants it."""
    try:
        return one.files.local(split)
    except MissingFile as error:
        make = one.files.make_local()
        whole = f"{make} splits=[{split}] {' '.join(extraction)}" if extraction else make
        raise MissingFile(str(error).replace(make, whole)) from error


main = partial(command, "build_vocabulary", run)
