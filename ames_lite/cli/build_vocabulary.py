"""`python extract/build_vocabulary.py`: a VLAD vocabulary of one data set, or of several. Several
are named with a step each (`sources=[pitts30k:4,st_lucia:1]`), also by a recipe.
"""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import NamedTuple

from ames_lite.cli.extraction import names_of_published
from ames_lite.cli.schema.extraction import BuildVocabulary
from ames_lite.cli.schema.keys import some_of
from ames_lite.cli.shell import dataset_files, dataset_named
from ames_lite.datasets.layout import DatasetFiles, find_all
from ames_lite.errors import BadInput, MissingFile, check_config
from ames_lite.extraction.vocabulary import Source, build_vocabulary
from ames_lite.io.provenance import compare_provenance
from ames_lite.stores.fitted import ImagesOf, read_vocabulary, read_vocabulary_images

OF_CLUSTERING = ("num_clusters", "distance", "unit", "seed", "iterations")
SETTINGS = (*OF_CLUSTERING, "max_images", "sample_per_cluster", "overwrite", "expected")


class Chosen(NamedTuple):
    dataset: str
    step: int
    files: DatasetFiles


def run(config: BuildVocabulary) -> None:
    """Build a vocabulary, named after `domain=`, or after the folders of the data sets."""
    chosen, output = sources_and_path(config)
    split, extraction = config.split, config.extraction
    found = find_all({one.dataset: partial(_store, one, split, extraction) for one in chosen})
    sources = []
    for one in chosen:
        names = names_of_published(one.files, split, found[one.dataset])
        sources.append(Source(found[one.dataset], one.step, names, one.dataset))
    path = build_vocabulary(sources, output, **some_of(config, SETTINGS))
    print(f"vocabulary: {path}")


def sources_and_path(config: BuildVocabulary) -> tuple[list[Chosen], Path]:
    """What a vocabulary is built from, and where it belongs. Raises ConfigError."""
    what, expected = f"size={config.size} belongs to a recipe", "recipe=anyloc, or one of anyloc_…"
    check_config(config.size is None or config.extraction, what, expected)
    chosen = _chosen(config)
    domain = config.domain or "+".join(one.files.folder for one in chosen)
    return chosen, dataset_files(config).vocabulary_path(domain)


def keep(config: BuildVocabulary, remedy: str) -> Path | None:
    """The vocabulary that is there. Raises BadInput where `config` builds another."""
    chosen, path = sources_and_path(config)
    if not path.is_file():
        return None
    wanted = {
        "datasets": [one.dataset for one in chosen],
        "steps": [one.step for one in chosen],
        **some_of(config, OF_CLUSTERING),
        **(config.expected or {}),
    }
    made, files = read_vocabulary(path)[1], (path, "this run")
    compare_provenance(made, wanted, wanted, files=files, remedy=remedy)
    seen = {part.dataset: part for part in read_vocabulary_images(path)}
    for one in chosen:
        with suppress(MissingFile):  # the vocabulary may be there without its sources
            names = one.files.names(config.split)
            if one.dataset in seen:
                _check_images(path, seen[one.dataset], names, remedy)
    return path


def _check_images(path: Path, seen: ImagesOf, names: Sequence[str], remedy: str) -> None:
    """Raises BadInput where a vocabulary was built from images that a list lacks."""
    odd = sorted(set(seen.names) - set(names[:: seen.step]))
    if odd:
        what = f"the vocabulary has seen '{odd[0]}' and {len(odd) - 1} others of {seen.dataset}"
        expected = f"every image of the list as it is now, in steps of {seen.step}"
        raise BadInput(what, where=path, expected=expected, remedy=remedy)


def parse_source(text: object) -> tuple[str, int]:
    """A data set and its step from `name:step`; without a step all images are used.

    >>> parse_source("pitts30k:4"), parse_source("gardens")
    (('pitts30k', 4), ('gardens', 1))
    """
    name, _, step = str(text).partition(":")
    step = step or "1"
    expected = "<data set>:<step>, as in sources=[pitts30k:4,st_lucia:1]"
    fine = name and step.isdecimal() and int(step) >= 1
    check_config(fine, f"sources has '{text}'", expected)
    return name, int(step)


def _chosen(config: BuildVocabulary) -> list[Chosen]:
    config = replace(config, desc_name=config.stores or config.desc_name)
    if not config.sources:
        return [Chosen(config.dataset.option, 1, dataset_files(config))]
    parsed = [parse_source(text) for text in config.sources]
    names = [name for name, _ in parsed]
    check_config(len(set(names)) == len(names), f"sources={names}", "each once")
    sets = [replace(config, dataset=dataset_named(name, config.name)) for name in names]
    return [Chosen(*one, dataset_files(own)) for one, own in zip(parsed, sets, strict=True)]


def _store(one: Chosen, split: str, extraction: Sequence[str] | None) -> Path:
    """Raises MissingFile with the command that makes the store as a recipe wants it."""
    try:
        return one.files.local(split)
    except MissingFile as error:
        make = one.files.make_local()
        whole = f"{make} splits=[{split}] {' '.join(extraction)}" if extraction else make
        raise MissingFile(str(error).replace(make, whole)) from error
