"""Configurations: the sole owner of Hydra.

Every key must stand in the YAML, every group's value must be a file of that group, and a value must
have the type of the default; where that is null, a text or what `TAKES` says.
"""

import os
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from copy import deepcopy
from functools import lru_cache
from pathlib import Path, PurePosixPath
from typing import Any

from hydra import compose as hydra_compose
from hydra import initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from ames_lite.cli.overrides import (
    FORM,
    is_list,
    is_quoted,
    literal,
    literal_list,
    literal_path,
    split_override,
    unknown,
)
from ames_lite.datasets.layout import network_of
from ames_lite.errors import ConfigError, MissingFile
from ames_lite.io.overrides import word
from ames_lite.io.shipped import conf_dir, shipped

GROUPS = ("dataset", "model", "backbone", "experiment", "recipe")
# What a key takes beside the type of its default; the keys of a reranker or a backbone go by their
# last part. A default of null takes a text where nothing else stands here.
TAKES: dict[tuple[type, ...], set[str]] = {
    (int, float): {
        *("radius", "threshold", "max_false", "certain", "val_share"),
        *("dataset.options.radius", "dataset.options.max_angle"),
    },
    (int, float, list): {"lamb", "temp"},
    (int,): {
        *("tolerance", "ivf_pq.nlist", "ivf_pq.code_size", "kreciprocal.num", "diffusion.num"),
        *("keep", "export_top", "query_desc_num", "gallery_desc_num", "threads", "batch_pixels"),
        *("layer", "extract.batch_pixels", "dataset.options.nearest", "dataset.options.frames"),
    },
    (int, list): {"num_rerank", "descriptors", "image_size"},
    (str, list): {"exports", "columns", "heads", "precisions"},
    (str,): {"weights", "tuned"},
    (list,): {"outputs", "names", "rerankers", "box"},
}
OPTIONAL = {  # keys that take null though their default is another
    *("val_dataset", "whitening", "dataset.options.radius", "dataset.options.max_angle"),
    *("dataset.options.nearest", "dataset.options.frames", "dataset.options.ground_truth"),
    *("dataset.options.distractors", "dataset.options.names_from"),
    *("mutual_nn.lamb", "mutual_nn.temp", "ransac.lamb", "ransac.temp"),
}
PATHS = {  # keys whose texts are paths
    *("data_root", "output_dir", "images", "labels", "query_images", "queries", "gallery"),
    *("families", "distractors", "weights", "teacher", "global_weights", "vocabulary"),
    *("whitening", "binarization", "detector", "store", "cache", "lists", "scores", "tuned"),
    *("results", "val_images", "query", "index", "neighbors", "val_neighbors", "scratch"),
}
HEAD_KEYS = {"weights", "teacher"}
TEXT_LISTS = {"names", "show", "columns"}  # lists of other texts, taken as they stand too
CONFIG_NAME, CONFIG_DIR = "--config-name=", "AMES_CONFIG_DIR"
SHORT = {"swap": "dataset.swap"}  # keys of a group that are given without it
Config = dict[str, Any]


def config_dirs() -> tuple[Path, ...]:
    """Where configurations are found: conf/, and the user's folder (--config-dir=) behind it."""
    given = os.environ.get(CONFIG_DIR)
    if given is not None and not Path(given).is_dir():
        raise MissingFile("the folder of --config-dir= does not exist", where=given)
    return (conf_dir(), Path(given)) if given else (conf_dir(),)


def options_of(group: str) -> list[str]:
    """The values that a group has, sorted."""
    found = (path.stem for folder in config_dirs() for path in (folder / group).glob("*.yaml"))
    return sorted(set(found))


def _yaml(name: str) -> Path:
    files = [folder / f"{name}.yaml" for folder in config_dirs()]
    found = next((path for path in files if path.is_file()), None)
    if found is None:
        raise MissingFile(f"there is no configuration '{name}'", where=files[-1])
    return found


def search_path(name: str) -> tuple[str, list[str]]:
    """The folder of a configuration, and Hydra's override for the other ones."""
    first = next(one for one in config_dirs() if _yaml(name).is_relative_to(one))
    others = [f"file://{one}" for one in config_dirs() if one != first]
    return str(first), [word("hydra.searchpath", others)] if others else []


def compose(name: str, overrides: Sequence[str] = ()) -> Config:
    """Configuration `name` with overrides applied. Raises ConfigError that lists what exists."""
    flag = next((text for text in overrides if text.startswith(CONFIG_NAME)), CONFIG_NAME + name)
    primary = flag.removeprefix(CONFIG_NAME)
    words = [split_override(text) for text in overrides if text != flag]
    words = _with_backbone(name, [(SHORT.get(key, key), value) for key, value in words])
    own_groups = _groups_of(primary)
    groups = [(key, value) for key, value in words if key in own_groups]
    for group, value in groups:
        _check_group(group, value, name)
    composed = _composed(config_dirs(), primary, tuple(f"{key}={value}" for key, value in groups))
    plain = _contents(name, composed, [])
    known = _flat(plain)
    others = [(key, value) for key, value in words if key not in own_groups]
    for key, _ in others:
        _check_key(key, known, name)
    given = [_parse(_as_text(key, value, known[key])) for key, value in others]
    config = _contents(name, composed, given)
    _check_types(config, known)
    for key in HEAD_KEYS & set(config):
        config[key] = _head_by_name(config[key])
    return config


def _head_by_name(weights: Any) -> Any:
    """The folder of a shipped head that is named (weights=sift_ames); anything else as it is."""
    if not isinstance(weights, str) or Path(weights).name != weights or Path(weights).exists():
        return weights
    head = shipped(weights)
    return str(head) if (head / "weights.safetensors").is_file() else weights


def _as_text(key: str, value: str, default: Any) -> str:
    """The override; where a key takes a text, its value is quoted so that Hydra leaves it alone."""
    types, last = _types(key, default), _short(key)
    written = literal_path if last in PATHS else literal
    if is_list(value) and list in types:
        texts = last in PATHS | TEXT_LISTS
        return f"{key}={literal_list(value, written) if texts else value}"
    if value == "null" or (str not in types and not (list in types and last in PATHS)):
        return f"{key}={value}"
    if last in PATHS and not value.strip():
        raise ConfigError(f"{key}= is empty", expected="a path, or null")
    return f"{key}={written(value)}"


def _types(key: str, default: Any) -> tuple[type, ...]:
    named = tuple(kind for kinds, keys in TAKES.items() if _short(key) in keys for kind in kinds)
    if default is None:
        return named or (str,)
    own = (int, float) if isinstance(default, float) else (type(default),)
    return (*own, *(kind for kind in named if kind not in own))


def given_words(name: str, config: Config) -> list[str]:
    """The overrides that compose to `config`: what differs from the defaults of its groups.

    What was filled in since (the protocol and role of a folder's own) is left out.
    """
    groups = {"dataset": config["dataset"]["option"], "model": config["model"]["name"]}
    words = [word(key, value) for key, value in groups.items()]
    plain = _flat(compose(name, words))
    default = str(compose(name)["model"]["name"])
    words = [one for one in words if one != word("model", default)]
    for key, value in _flat(config).items():
        leaf = not isinstance(value, dict) and key not in ("dataset.protocol", "dataset.role")
        if leaf and key in plain and plain[key] != value and key != "dataset.folder":
            words.append(word(key, value))
    return words


def _with_backbone(name: str, words: list[tuple[str, str]]) -> list[tuple[str, str]]:
    """For extraction: the backbone is the one that desc_name= names, and the other way round.

    A global descriptor of one network asks for that backbone.
    """
    given, options = dict(words), options_of("backbone")
    if name not in ("extract_descriptors", "extract_globals", "place_recognition"):
        return words
    if "backbone" in given:
        return words if "desc_name" in given else [*words, ("desc_name", given["backbone"])]
    of_globals = name == "extract_globals"
    chosen = (of_globals and network_of(given.get("global", ""))) or given.get("desc_name")
    if chosen is None or (of_globals and chosen not in options):
        return words  # local descriptors of any name; source=images asks for one
    if chosen not in options:
        what = f"desc_name={chosen} is no backbone, and backbone= is not given"
        raise unknown(what, chosen, options, "backbone= one of ")
    return [*words, ("backbone", chosen)]


def _parse(text: str) -> Override:
    """Raises ConfigError for what Hydra cannot read, or would read as several runs."""
    GlobalHydra.instance().clear()
    try:
        override = OverridesParser.create().parse_override(text)
    except HydraException as error:
        raise ConfigError(f"'{text}' is not an override", expected=FORM) from error
    if override.is_sweep_override():
        expected = "a list: key=[value,value]; decimals with a point; a sweep: -m"
        raise ConfigError(f"'{text}' lists values", expected=expected)
    return override


def sweep_values(text: str) -> list[str]:
    """The overrides of the jobs that one override of a sweep stands for: `a=1,2` is a=1 and a=2."""
    key, value = text.split("=", 1)
    try:
        override = OverridesParser.create().parse_override(text)
    except HydraException:
        return [f"{key}={literal(value)}"]
    if not override.is_sweep_override():
        return [text]
    return [f"{key}={one}" for one in override.sweep_string_iterator()]


def _check_group(group: str, value: str, name: str) -> None:
    value = value[1:-1] if is_quoted(value) else value
    options = experiments_of(name) if group == "experiment" else options_of(group)
    if value not in options:
        of_others = f"{group}={value} is not one of {name}"
        what = of_others if value in options_of(group) else f"there is no {group} '{value}'"
        raise unknown(what, value, options)


def _groups_of(name: str) -> frozenset[str]:
    return _keys(name) & set(GROUPS)


def experiments_of(name: str) -> list[str]:
    """The experiments of a command: those that set nothing that it does not have, sorted."""
    known = _keys(name)
    return [one for one in options_of("experiment") if _keys(f"experiment/{one}") <= known]


def _keys(name: str) -> frozenset[str]:
    return _keys_of(name, config_dirs())


@lru_cache(maxsize=256)
def _keys_of(name: str, folders: tuple[Path, ...]) -> frozenset[str]:
    """The keys of a YAML and of those that it is composed of, and the groups that it chooses."""
    content: Any = OmegaConf.to_container(OmegaConf.load(_yaml(name))) or {}
    defaults = content.pop("defaults", [])
    keys = {str(key) for key in content}
    for entry in defaults:
        if isinstance(entry, dict):
            keys |= {str(key).removeprefix("override /") for key in entry}
        elif entry != "_self_":
            keys |= _keys_of(str(PurePosixPath(name).parent / entry), folders)
    return frozenset(keys)


@lru_cache(maxsize=256)  # it is slow, and commands that call others choose the same groups often
def _composed(folders: tuple[Path, ...], name: str, groups: tuple[str, ...]) -> DictConfig:
    """The configuration with its groups chosen, its interpolations unresolved."""
    folder, others = search_path(name)
    with _explained(name), initialize_config_dir(folder, version_base="1.3", job_name=name):
        return hydra_compose(name, [*groups, *others])


def _contents(name: str, composed: DictConfig, given: Sequence[Override]) -> Config:
    """The values of a configuration, once those that are given stand in it."""
    composed = deepcopy(composed)
    with _explained(name):
        for override in given:  # as Hydra does it after the groups
            OmegaConf.update(composed, override.key_or_group, override.value(), merge=True)
        config = OmegaConf.to_container(composed, resolve=True)
    assert isinstance(config, dict)
    return {str(key): value for key, value in config.items()}


@contextmanager
def _explained(name: str) -> Iterator[None]:
    try:
        yield
    except (HydraException, OmegaConfBaseException) as error:
        first = str(error).strip().split("\n")[0]
        raise ConfigError(f"the configuration does not compose: {first}", where=name) from error


def _flat(config: Config, prefix: str = "") -> Config:
    flat: Config = {}
    for key, value in config.items():
        flat[prefix + key] = value
        if isinstance(value, dict):
            flat.update(_flat(value, f"{prefix}{key}."))
    return flat


def _check_key(key: str, known: Config, name: str) -> None:
    keys = {k for k, value in known.items() if not isinstance(value, dict)}
    if key not in keys:
        raise unknown(f"{name} has no key '{key}'", key, keys | _groups_of(name))


def _check_types(config: Config, known: Config) -> None:
    for key, value in _flat(config).items():
        if key not in known or _may_be_null(key, known[key]) and value is None:
            continue
        types = _types(key, known[key])
        is_bool = isinstance(value, bool) and bool not in types
        if is_bool or not isinstance(value, types):
            expected = " or ".join(kind.__name__ for kind in types)
            if value is None and str in types:
                expected += f"; the text null as \"{key}='null'\""
            if isinstance(value, str) and list in types:
                expected += f": {key}=[{value}]"
            raise ConfigError(f"{key}={value!r} is a {type(value).__name__}", expected=expected)


def _may_be_null(key: str, default: Any) -> bool:
    return default is None or not OPTIONAL.isdisjoint((key, _short(key)))


def _short(key: str) -> str:
    return re.sub(r"^(ames|elvis|mutual_nn|ransac|backbone\.arguments)\.", "", key)
