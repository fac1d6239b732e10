"""The keys of every command, as dataclasses; nothing heavy is imported for --help."""

from collections.abc import Iterator
from typing import Any

import yaml

from ames_lite.cli.schema import evaluation, extraction
from ames_lite.cli.schema.keys import helps_of, keys_of
from ames_lite.io.overrides import word
from ames_lite.io.shipped import conf_dir

SCHEMAS: dict[str, type] = {
    "extract_descriptors": extraction.ExtractDescriptors,
    "merge_hdf5": extraction.MergeHdf5,
    "append_distractors": extraction.AppendDistractors,
    "fit_binarization": extraction.FitBinarization,
    "build_vocabulary": extraction.BuildVocabulary,
    "extract_globals": extraction.ExtractGlobals,
    "fit_whitening": extraction.FitWhitening,
    "prepare_topk_global": extraction.PrepareTopkGlobal,
    "train_detector": extraction.TrainDetector,
    "prepare_dataset": extraction.PrepareDataset,
    "prepare_set": extraction.PrepareSet,
    "check_store": extraction.CheckStore,
    "train": evaluation.Train,
    "tune": evaluation.Tune,
    "evaluate": evaluation.Evaluate,
    "compare": evaluation.Compare,
    "failures": evaluation.Failures,
    "place_recognition": evaluation.PlaceRecognition,
    "search": evaluation.Search,
    "demo": evaluation.Demo,
}


def help_of(name: str) -> Iterator[tuple[str, str, str]]:
    """Every key of a command, its default as it is typed, and what it means; groups first.

    Before the keys of a part stands what it is, without a default.
    """
    about = helps_of(SCHEMAS[name])
    text = (conf_dir() / f"{name}.yaml").read_text(encoding="utf-8")
    chosen: list[Any] = yaml.safe_load(text)["defaults"]
    for entry in chosen:
        for group, value in entry.items() if isinstance(entry, dict) else ():
            values = sorted(path.stem for path in (conf_dir() / group).glob("*.yaml"))
            said = f"one of {', '.join(values)}"
            yield group, str(value or "null"), "; ".join(filter(None, [about.get(group), said]))
    for key, one in keys_of(SCHEMAS[name]).items():
        part, dot, _ = key.partition(".")
        if dot and about.get(part):
            yield f"{part}.…", "", about.pop(part)
        computed = isinstance(one.default, str) and one.default.startswith("${")
        yield key, one.default if computed else word(key, one.default).partition("=")[2], one.help
