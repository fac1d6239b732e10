"""Configurations: the sole owner of Hydra.

Input: the name of a configuration in `conf/` and `key=value` overrides. Output: a plain dict.
Nothing can be added. Every key must stand in the YAML, every group's value must be a file of that
group, and a value must have the type that the key has there; where the YAML has null, `TYPES` says
what may stand instead. A text is taken as it stands (`overrides`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from copy import deepcopy
from functools import lru_cache
from pathlib import Path
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
    did_you_mean,
    is_list,
    is_quoted,
    literal,
    literal_list,
    literal_path,
    nearest_first,
    split_override,
)
from ames_lite.datasets.layout import network_of
from ames_lite.errors import ConfigError
from ames_lite.io.overrides import word
from ames_lite.io.shipped import conf_dir, shipped

GROUPS = ("dataset", "model", "backbone", "experiment", "recipe")
NUMBER, TEXT = (int, float), (str,)
TYPES: dict[str, tuple[type, ...]] = {  # of keys that are null, or that take a list too
    "lamb": (*NUMBER, list),
    "temp": (*NUMBER, list),
    "num_rerank": (int, list),
    "data_root": TEXT,
    "output_dir": TEXT,
    "weights": TEXT,
    "vocabulary": TEXT,
    "stores": TEXT,
    "domain": TEXT,
    "soft": TEXT,
    "whitening": TEXT,
    "backbone.arguments.whitening": (*TEXT, type(None)),
    "global": TEXT,
    "images": TEXT,
    "labels": TEXT,
    "query_images": TEXT,
    "queries": TEXT,
    "gallery": TEXT,
    "kind": TEXT,
    "radius": NUMBER,
    "threshold": NUMBER,
    "max_false": NUMBER,
    "certain": NUMBER,
    "tolerance": (int,),
    "val_share": NUMBER,
    "families": TEXT,
    "distractors": TEXT,
    "protocol": TEXT,
    "dataset.protocol": TEXT,
    "store": TEXT,
    "shard": TEXT,
    "binarization": TEXT,
    "compression": TEXT,
    "cache": TEXT,
    "descriptors": (int, list),
    "lists": TEXT,
    "ivf_pq.nlist": (int,),
    "ivf_pq.code_size": (int,),
    "kreciprocal.num": (int,),
    "diffusion.num": (int,),
    "keep": (int,),
    "outputs": (list,),
    "scores": TEXT,
    "tuned": TEXT,
    "val_dataset": (*TEXT, type(None)),
    "val_name": TEXT,
    "val_neighbors": TEXT,
    "teacher": TEXT,
    "val_images": TEXT,
    "backbone.arguments.image_size": (int, list),
    "exports": (str, list),
    "export_setting": TEXT,
    "export_top": (int,),
    "neighbors": TEXT,
    "query_desc_num": (int,),
    "gallery_desc_num": (int,),
    "precision": TEXT,
    "names": (list,),
    "baseline": TEXT,
    "metric": TEXT,
    "columns": (str, list),
    "title": TEXT,
    "rerankers": (list,),
    "global_desc_name": TEXT,
    "global_weights": TEXT,
    "vocabulary_recipe": TEXT,
    "query": TEXT,
    "box": (list,),
    "index": TEXT,
    "source": TEXT,
    "superglobal.sgem": (*TEXT, *NUMBER),
}
NOTHING = type(None)
for _reranker in ("ames", "elvis", "mutual_nn", "ransac"):  # of place_recognition
    TYPES |= {f"{_reranker}.{key}": (*TEXT, NOTHING) for key in ("weights", "tuned")}
    TYPES |= {f"{_reranker}.{key}": (*NUMBER, list, NOTHING) for key in ("lamb", "temp")}
TYPES |= {  # of what a reader of an official layout is told
    **{f"dataset.options.{key}": (*NUMBER, NOTHING) for key in ("radius", "max_angle")},
    **{f"dataset.options.{key}": (int, NOTHING) for key in ("nearest", "frames")},
    **{
        f"dataset.options.{key}": (*TEXT, NOTHING)
        for key in ("ground_truth", "distractors", "names_from")
    },
}
PATHS = {  # keys whose texts are paths; what else is known of them stands in TYPES
    *("data_root", "output_dir", "images", "labels", "query_images", "queries", "gallery"),
    *("families", "distractors"),
    *("weights", "teacher", "global_weights", "vocabulary", "whitening", "binarization"),
    *("store", "cache", "lists", "scores", "tuned", "results", "val_images", "query", "index"),
    *("neighbors", "val_neighbors", "scratch", "backbone.arguments.weights"),
    *("backbone.arguments.detector", "backbone.arguments.whitening"),
    *(f"{reranker}.{key}" for reranker in ("ames", "elvis") for key in ("weights", "tuned")),
}
HEAD_KEYS = {"weights", "teacher"}
TEXT_LISTS = {"names", "show", "columns"}  # lists of other texts, taken as they stand too
SHORT = {"swap": "dataset.swap"}  # keys of a group that are given without it
Config = dict[str, Any]


def options_of(group: str) -> list[str]:
    """The values that a group has, sorted."""
    return sorted(path.stem for path in (conf_dir() / group).glob("*.yaml"))


def compose(name: str, overrides: Sequence[str] = ()) -> Config:
    """Configuration `name` with overrides applied. Raises ConfigError that lists what exists."""
    overrides = _with_backbone(name, [_in_full(text) for text in overrides])
    own_groups = _groups_of(name)
    groups: list[str] = []
    others: list[tuple[str, str]] = []
    for text in overrides:
        key, value = split_override(text)
        if key in own_groups:
            _check_group(key, value, name)
            groups.append(text)
        else:
            others.append((key, value))
    composed = _composed(conf_dir(), name, tuple(groups))
    plain = _contents(name, composed, [])
    known = _flat(plain)
    for key, _ in others:
        _check_key(key, known, name)
    for text in groups:
        _parse(text)
    given = [_parse(_as_text(key, value, known)) for key, value in others]
    config = _contents(name, composed, given)
    _check_types(config, plain)
    for key in HEAD_KEYS & set(config):
        config[key] = _head_by_name(config[key])
    return config


def _head_by_name(weights: Any) -> Any:
    """The folder of a shipped head that is named (weights=sift_ames); anything else as it is."""
    if not isinstance(weights, str) or Path(weights).name != weights or Path(weights).exists():
        return weights
    head = shipped(weights)
    return str(head) if (head / "weights.safetensors").is_file() else weights


def _as_text(key: str, value: str, known: Config) -> str:
    """The override; where a key takes a text, its value is quoted so that Hydra leaves it alone."""
    default, types = known[key], TYPES.get(key, ())
    written = literal_path if key in PATHS else literal
    if is_list(value) and (isinstance(default, list) or list in types):
        texts = key in PATHS | TEXT_LISTS
        return f"{key}={literal_list(value, written) if texts else value}"
    is_text = key in PATHS or isinstance(default, str) or str in types
    if not is_text or value == "null":
        return f"{key}={value}"
    if key in PATHS and not value.strip():
        raise ConfigError(f"{key}= is empty", expected="a path, or null")
    return f"{key}={written(value)}"


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


def _in_full(text: str) -> str:
    key, *value = text.split("=", 1)
    return "=".join([SHORT.get(key, key), *value])


def _with_backbone(name: str, overrides: Sequence[str]) -> list[str]:
    """For extraction: the backbone is the one that desc_name= names, and the other way round.

    A global descriptor of one network asks for that backbone.
    """
    given = dict(text.split("=", 1) for text in overrides if "=" in text)
    both = ("desc_name" in given) == ("backbone" in given)
    network = network_of(given.get("global", ""))
    if name == "extract_globals" and network is not None and "backbone" not in given:
        return [*overrides, f"backbone={network}"]
    if name not in ("extract_descriptors", "extract_globals", "place_recognition") or both:
        return list(overrides)
    if "backbone" in given:
        return [*overrides, f"desc_name={given['backbone']}"]
    if name == "extract_globals" and given["desc_name"] not in options_of("backbone"):
        return list(overrides)  # local descriptors of any name; source=images asks for one
    if given["desc_name"] not in options_of("backbone"):
        raise ConfigError(
            f"desc_name={given['desc_name']} is no backbone, and backbone= is not given"
            + did_you_mean(given["desc_name"], options_of("backbone")),
            expected="backbone= one of "
            + ", ".join(nearest_first(given["desc_name"], options_of("backbone"))),
        )
    return [*overrides, f"backbone={given['desc_name']}"]


def _parse(text: str) -> Override:
    """Raises ConfigError for what Hydra cannot read, or would read as several runs."""
    GlobalHydra.instance().clear()
    try:
        override = OverridesParser.create().parse_override(text)
    except HydraException as error:
        raise ConfigError(f"'{text}' is not an override", expected=FORM) from error
    if override.is_sweep_override():
        expected = "a list: key=[value,value]; decimals with a point"
        raise ConfigError(f"'{text}' lists values", expected=expected)
    return override


def _check_group(group: str, value: str, name: str) -> None:
    value = value[1:-1] if is_quoted(value) else value
    options = experiments_of(name) if group == "experiment" else options_of(group)
    if value not in options:
        what = f"there is no {group} '{value}'"
        if value in options_of(group):
            what = f"{group}={value} is not one of {name}"
        raise ConfigError(
            what + did_you_mean(value, options),
            expected=f"one of {', '.join(nearest_first(value, options))}",
        )


def _groups_of(name: str) -> frozenset[str]:
    """The groups that a command has."""
    return _keys(conf_dir() / f"{name}.yaml") & set(GROUPS)


def experiments_of(name: str) -> list[str]:
    """The experiments of a command: those that set nothing that it does not have, sorted."""
    known = _keys(conf_dir() / f"{name}.yaml")
    folder = conf_dir() / "experiment"
    return [one for one in options_of("experiment") if _keys(folder / f"{one}.yaml") <= known]


@lru_cache(maxsize=256)
def _keys(path: Path) -> frozenset[str]:
    """The keys of a YAML, and the groups that it is composed of or that it overrides."""
    content: Any = OmegaConf.to_container(OmegaConf.load(path)) or {}
    chosen = [entry for entry in content.pop("defaults", []) if isinstance(entry, dict)]
    groups = {str(key).removeprefix("override /") for entry in chosen for key in entry}
    return frozenset({str(key) for key in content} | groups)


@lru_cache(maxsize=256)  # it is slow, and commands that call others choose the same groups often
def _composed(folder: Path, name: str, groups: tuple[str, ...]) -> DictConfig:
    """The configuration with its groups chosen, its interpolations unresolved."""
    with _explained(name), initialize_config_dir(str(folder), version_base="1.3", job_name=name):
        return hydra_compose(name, list(groups))


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
    """Errors of Hydra become a ConfigError that names the configuration."""
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
    if key in known and not isinstance(known[key], dict):
        return
    keys = {k for k, value in known.items() if not isinstance(value, dict)} | _groups_of(name)
    raise ConfigError(
        f"{name} has no key '{key}'{did_you_mean(key, keys)}",
        expected=f"one of {', '.join(nearest_first(key, keys))}",
    )


def _check_types(config: Config, plain: Config) -> None:
    before = _flat(plain)
    for key, value in _flat(config).items():
        default = before.get(key)
        if key in TYPES:
            allowed = (*TYPES[key], *([list] if isinstance(default, list) else []))
        elif isinstance(default, bool):
            allowed = (bool,)
        elif isinstance(default, float):
            allowed = NUMBER
        elif default is None:
            continue
        else:
            allowed = (type(default),)
        nothing = value is None and default is None
        is_bool = isinstance(value, bool) and bool not in allowed
        if not nothing and (is_bool or not isinstance(value, allowed)):
            names = " or ".join(kind.__name__ for kind in allowed)
            if value is None and str in allowed:
                names += f"; the text null as \"{key}='null'\""
            if isinstance(value, str) and list in allowed:
                names += f": {key}=[{value}]"
            raise ConfigError(f"{key}={value!r} is a {type(value).__name__}", expected=names)
