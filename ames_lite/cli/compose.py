"""Configurations: the sole owner of Hydra.

In: the name of a configuration in `conf/` and `key=value` overrides. Out: a plain dict. The
convention to know: nothing can be added. Every key must stand in the YAML, every group's value must
be a file of that group, and a value must have the type that the key has there; where the YAML has
null, `TYPES` says what may stand instead.
"""

from __future__ import annotations

import difflib
from collections.abc import Sequence
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
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from ames_lite.errors import ConfigError
from ames_lite.io.overrides import word

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
    "global": TEXT,
    "images": TEXT,
    "labels": TEXT,
    "query_images": TEXT,
    "queries": TEXT,
    "gallery": TEXT,
    "kind": TEXT,
    "radius": NUMBER,
    "tolerance": (int,),
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
SHORT = {"swap": "dataset.swap"}  # keys of a group that are given without it
Config = dict[str, Any]


def conf_dir() -> Path:
    """The folder of the configurations: beside the package in a checkout, inside it installed."""
    package = Path(__file__).resolve().parents[1]
    beside = package.parent / "conf"
    return beside if (beside / "evaluate.yaml").is_file() else package / "conf"


def options_of(group: str) -> list[str]:
    """The values that a group has, sorted."""
    return sorted(path.stem for path in (conf_dir() / group).glob("*.yaml"))


def compose(name: str, overrides: Sequence[str] = ()) -> Config:
    """Configuration `name` with overrides applied. Raises ConfigError that lists what exists."""
    overrides = _with_backbone(name, [_in_full(text) for text in overrides])
    parsed = _parse(overrides)
    groups = [o for o in parsed if o.key_or_group in GROUPS]
    for override in groups:
        _check_group(override)
        if override.key_or_group == "experiment":
            _check_experiment(str(override.value()), name)
    plain = _compose(conf_dir(), name, tuple(o.input_line for o in groups if o.input_line))
    for override in parsed:
        if override not in groups:
            _check_key(override.key_or_group, plain, name)
    config = deepcopy(_compose(conf_dir(), name, tuple(overrides)))
    _check_types(config, plain)
    return config


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
    """For extraction: the backbone is the one that desc_name= names, and the other way round."""
    given = dict(text.split("=", 1) for text in overrides if "=" in text)
    both = ("desc_name" in given) == ("backbone" in given)
    if name not in ("extract", "globals", "place_recognition") or both:
        return list(overrides)
    if "backbone" in given:
        return [*overrides, f"desc_name={given['backbone']}"]
    if name == "globals" and given["desc_name"] not in options_of("backbone"):
        return list(overrides)  # local descriptors of any name; source=images asks for one
    if given["desc_name"] not in options_of("backbone"):
        raise ConfigError(
            f"desc_name={given['desc_name']} is no backbone, and backbone= is not given",
            expected=f"backbone= one of {', '.join(options_of('backbone'))}",
        )
    return [*overrides, f"backbone={given['desc_name']}"]


def _parse(overrides: Sequence[str]) -> list[Override]:
    GlobalHydra.instance().clear()
    parsed = []
    for text in overrides:
        try:
            override = OverridesParser.create().parse_override(text)
        except HydraException as error:
            raise ConfigError(
                f"'{text}' is not an override",
                expected="key=value; lists as key=[1,2], text with commas in quotes",
            ) from error
        if override.is_add() or override.is_force_add() or override.is_delete():
            raise ConfigError(
                f"'{text}': keys can be neither added nor removed",
                expected=f"{override.key_or_group}=value",
            )
        if override.is_sweep_override():
            raise ConfigError(f"'{text}' lists values", expected="a list: key=[value,value]")
        parsed.append(override)
    return parsed


def _check_group(override: Override) -> None:
    group, value = override.key_or_group, override.value()
    if value not in options_of(group):
        raise ConfigError(
            f"there is no {group} '{value}'", expected=f"one of {', '.join(options_of(group))}"
        )


def experiments_of(name: str) -> list[str]:
    """The experiments of a command: those that set nothing that it does not have, sorted."""
    known = _keys(conf_dir() / f"{name}.yaml")
    folder = conf_dir() / "experiment"
    return [one for one in options_of("experiment") if _keys(folder / f"{one}.yaml") <= known]


def _keys(path: Path) -> set[str]:
    """The keys of a YAML, and the groups that it is composed of or that it overrides."""
    content: Any = OmegaConf.to_container(OmegaConf.load(path)) or {}
    chosen = [entry for entry in content.pop("defaults", []) if isinstance(entry, dict)]
    groups = {str(key).removeprefix("override /") for entry in chosen for key in entry}
    return {str(key) for key in content} | groups


def _check_experiment(value: str, name: str) -> None:
    fitting = experiments_of(name)
    if value not in fitting:
        raise ConfigError(
            f"experiment={value} is not one of {name}", expected=f"one of {', '.join(fitting)}"
        )


@lru_cache(maxsize=256)  # it is slow, and commands that call others compose the same often
def _compose(folder: Path, name: str, overrides: tuple[str, ...]) -> Config:
    try:
        with initialize_config_dir(str(folder), version_base="1.3", job_name=name):
            composed = hydra_compose(name, list(overrides))
            config = OmegaConf.to_container(composed, resolve=True)
    except (HydraException, OmegaConfBaseException) as error:
        first = str(error).strip().split("\n")[0]
        raise ConfigError(f"the configuration does not compose: {first}", where=name) from error
    assert isinstance(config, dict)
    return {str(key): value for key, value in config.items()}


def _flat(config: Config, prefix: str = "") -> Config:
    flat: Config = {}
    for key, value in config.items():
        flat[prefix + key] = value
        if isinstance(value, dict):
            flat.update(_flat(value, f"{prefix}{key}."))
    return flat


def _check_key(key: str, config: Config, name: str) -> None:
    known = _flat(config)
    if key in known and not isinstance(known[key], dict):
        return
    leaves = [k for k, value in known.items() if not isinstance(value, dict)] + [
        group for group in GROUPS if group in config
    ]
    near = difflib.get_close_matches(key, leaves, n=1)
    hint = f" (did you mean {near[0]}?)" if near else ""
    raise ConfigError(
        f"{name} has no key '{key}'{hint}", expected=f"one of {', '.join(sorted(leaves))}"
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
            raise ConfigError(f"{key}={value!r} is a {type(value).__name__}", expected=names)
