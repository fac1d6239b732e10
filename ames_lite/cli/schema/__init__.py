"""The keys of every command, as dataclasses; nothing heavy is imported for --help."""

from collections.abc import Iterator
from typing import Any, Literal, get_args, get_origin

import yaml

from ames_lite.cli.schema import evaluation, extraction, jobs
from ames_lite.cli.schema.keys import Key, helps_of, keys_of
from ames_lite.cli.schema.values import alternatives, said
from ames_lite.io.overrides import word
from ames_lite.io.shipped import conf_dir

NAMES = (
    *("extract_descriptors", "merge_hdf5", "append_distractors", "fit_binarization"),
    *("build_vocabulary", "extract_globals", "fit_whitening", "prepare_topk_global"),
    *("train_detector", "prepare_dataset", "prepare_set", "check_store", "train", "tune"),
    *("evaluate", "compare", "failures", "plot", "place_recognition", "search", "app", "demo"),
    *("compress_store", "import_features", "rerank", "serve", "finetune", "classify"),
)
_CLASSES: dict[str, type] = vars(extraction) | vars(evaluation) | vars(jobs)
SCHEMAS = {name: _CLASSES[name.title().replace("_", "")] for name in NAMES}  # FitWhitening, …


def help_of(name: str) -> Iterator[tuple[str, str, str]]:
    """Every key of a command, its default as typed, its meaning; groups first, then by parts."""
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
        default = one.default if computed else word(key, one.default).partition("=")[2]
        yield key, default, _meaning(one)


def _meaning(key: Key) -> str:
    """Its help, and the words that it takes where the help does not name them."""
    literals = [one for one in alternatives(key.hint) if get_origin(one) is Literal]
    words = [text for one in literals for text in get_args(one) if text != key.default]
    named = all(text in key.help for text in words)
    return key.help if named else "; ".join(filter(None, [key.help, said(key.hint)]))
