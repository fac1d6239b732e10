"""Configurations: the sole owner of Hydra. A command's keys and types are those of its dataclass
(cli/schema); the YAML of its name chooses the groups, every value a file of its group.
"""

import json
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from copy import deepcopy
from dataclasses import asdict, replace
from functools import cache, lru_cache, partial, reduce
from importlib import import_module
from operator import getitem
from pathlib import Path, PurePosixPath
from typing import Any

from hydra import compose as hydra_compose
from hydra import initialize_config_dir
from hydra.conf import HydraConf
from hydra.core.config_store import ConfigStore
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf

from ames_lite.cli import overrides as typed
from ames_lite.cli.schema import SCHEMAS
from ames_lite.cli.schema.keys import Key, groups_of, keys_of
from ames_lite.cli.schema.values import built, converted
from ames_lite.datasets.layout import network_of
from ames_lite.errors import ConfigError, MissingFile, check_config
from ames_lite.io.overrides import word
from ames_lite.io.shipped import conf_dir

GROUPS = ("dataset", "model", "backbone", "experiment", "recipe")
# What a key below arguments= or options= takes beside the type of its default in the YAML.
TAKES: dict[str, Any] = {
    **dict.fromkeys(("radius", "max_angle"), int | float | None),
    **dict.fromkeys(("nearest", "frames"), int | None),
    **dict.fromkeys(("ground_truth", "distractors", "names_from", "whitening"), str | None),
    "image_size": int | list[int],
    "layer": int,
}
# Hydra's settings of itself without its own groups, whose files take half of the time of composing.
BARE = OmegaConf.structured(HydraConf(defaults=[]))
PARSER = OverridesParser.create()
PATHS = ("weights", "detector", "whitening")  # of these keys, whose texts are paths
CONFIG_NAME, CONFIG_DIR = "--config-name=", "AMES_CONFIG_DIR"
OF_ONE = {("model", "none"): "evaluate"}  # values of a group that one command takes
SHORT = {"swap": "dataset.swap"}  # keys of a group that are given without it


def config_dirs() -> tuple[Path, ...]:
    """Where configurations are found: conf/, and the user's folder (--config-dir=) behind it."""
    given = os.environ.get(CONFIG_DIR)
    if given is not None and not Path(given).is_dir():
        raise MissingFile("the folder of --config-dir= does not exist", where=given)
    return (conf_dir(), Path(given)) if given else (conf_dir(),)


def options_of(group: str) -> list[str]:
    found = (path.stem for folder in config_dirs() for path in (folder / group).glob("*.yaml"))
    return sorted(set(found))


def options_with(group: str, key: str) -> list[str]:
    """Values of a group whose YAML has a key of that name; nothing is composed."""
    return [one for one in options_of(group) if key in _keys(f"{group}/{one}")]


def _yaml(name: str) -> Path:
    files = [folder / f"{name}.yaml" for folder in config_dirs()]
    found = next((path for path in files if path.is_file()), None)
    if found is None:
        raise MissingFile(f"there is no configuration '{name}'", where=files[-1])
    return found


def search_path(name: str) -> tuple[str, list[str]]:
    """The folder of a configuration, and Hydra's override for the other ones."""
    _keys(name)  # its schemas are registered
    first = next(one for one in config_dirs() if _yaml(name).is_relative_to(one))
    others = [f"file://{one}" for one in config_dirs() if one != first]
    return str(first), [word("hydra.searchpath", others)] if others else []


def compose(name: str, overrides: Sequence[str] = ()) -> Any:
    """The keys of a command with overrides applied. Raises ConfigError that lists what exists."""
    flag = next((text for text in overrides if text.startswith(CONFIG_NAME)), CONFIG_NAME + name)
    primary, schema = flag.removeprefix(CONFIG_NAME), SCHEMAS[name]
    words = [typed.split_override(text) for text in overrides if text != flag]
    words = _with_backbone(name, [(SHORT.get(key, key), value) for key, value in words])
    own_groups = _keys(primary) & set(GROUPS)
    groups = [(key, value) for key, value in words if key in own_groups]
    for group, value in groups:
        _check_group(group, value, name)
    chosen = tuple(f"{key}={value}" for key, value in groups)
    composed, plain = _composed(config_dirs(), primary, chosen)
    lacking = sorted(_declared(name) - set(plain))
    what, expected = f"it has no {', '.join(lacking[:3])}", f"defaults: [{name}, …, _self_] in it"
    check_config(not lacking, what, expected, where=_yaml(primary))
    known = hints(schema, plain)
    others = [(key, value) for key, value in words if key not in own_groups]
    for key, _ in others:
        if key not in known:
            what, options = f"{name} has no key '{key}'", known.keys() | own_groups
            raise typed.unknown(what, key, options, meaning=typed.synonyms())
    given = [_parse(typed.written(key, value, known[key])) for key, value in others]
    values = _contents(name, composed, given)
    for key, value in _flat(values).items():
        if key in known and "." in key:
            converted(key, known[key].hint, value)
    for key, about in keys_of(schema).items():
        *parents, last = key.split(".")
        owner = reduce(getitem, parents, values)
        if about.mark == "head":
            owner[last] = _head_by_name(owner[last], values.get("trust") is True)
        elif about.mark.startswith("at least") and isinstance(owner[last], int):
            fits = owner[last] >= int(about.mark.rpartition(" ")[2])
            check_config(fits, f"{key}={owner[last]}", f"a whole number of {about.mark}")
    return built(schema, values)


def hints(schema: type, plain: dict[str, Any]) -> dict[str, Key]:
    """The keys that a configuration has: those declared, and those that its groups bring."""
    known = dict(keys_of(schema))
    declared = dict(known)
    for group, kind in groups_of(schema).items():
        declared |= {f"{group}.{key}": about for key, about in keys_of(kind).items()}
    for key, default in _flat(plain).items():
        last = key.rpartition(".")[2]
        if isinstance(default, dict) or key in known:
            continue
        own = str if default is None else list[Any] if isinstance(default, list) else type(default)
        hint = TAKES.get(last, own)
        mark = "path" if last in PATHS else ""
        free = Key(hint if default is not None else hint | None, default, mark=mark)
        known[key] = declared.get(key, free)
    return known


def _head_by_name(weights: Any, trust: bool) -> Any:
    """The files of a head that is named, shipped or published; anything else as it is."""
    if not isinstance(weights, str) or Path(weights).name != weights or Path(weights).exists():
        return weights
    found = import_module("ames_lite.hub").head_files(weights, trust)
    return weights if found is None else str(found)


def as_dict(config: Any) -> dict[str, Any]:
    plain: dict[str, Any] = json.loads(json.dumps(asdict(config), default=str))
    return {key.removesuffix("_"): value for key, value in plain.items()}


def given_words(config: Any) -> list[str]:
    """The overrides that compose to `config`: what differs from the defaults of its groups, but for
    what was filled in since (the protocol and role of a folder's own).
    """
    name = next(one for one, schema in SCHEMAS.items() if schema is type(config))
    chosen, defaults = _chosen(config), _chosen(compose(name))
    groups = [(group, one) for group, one in chosen.items() if one != defaults[group]]
    words = [word(group, one) for group, one in groups if group != "dataset"]
    words = [word("dataset", one) for one in (chosen.get("dataset"),) if one] + words
    plain = compose(name, words)
    known = hints(SCHEMAS[name], as_dict(plain))
    before, after = _flat(as_dict(plain)), _flat(as_dict(config))
    filled_in = ("dataset.protocol", "dataset.role", "dataset.folder")
    changed = [key for key in known if key not in filled_in and before.get(key) != after.get(key)]
    return [*words, *(word(key, after.get(key)) for key in changed)]


def _chosen(config: object) -> dict[str, str | None]:
    found = {group: getattr(config, group) for group in groups_of(type(config))}
    return {group: one and one.name for group, one in found.items()}


def _with_backbone(name: str, words: list[tuple[str, str]]) -> list[tuple[str, str]]:
    """For extraction: desc_name= names the backbone and the reverse; some global= name it too."""
    given, options = dict(words), options_of("backbone")
    if name not in ("extract_descriptors", "extract_globals", "place_recognition", "classify"):
        return words
    if "backbone" in given:
        return words if "desc_name" in given else [*words, ("desc_name", given["backbone"])]
    of_globals = name in ("extract_globals", "classify")
    chosen = (of_globals and network_of(given.get("global", ""))) or given.get("desc_name")
    if chosen is None or (of_globals and chosen not in options):
        return words  # local descriptors of any name; source=images asks for one
    if chosen not in options:
        what = f"desc_name={chosen} is no backbone, and backbone= is not given"
        raise typed.unknown(what, chosen, options, "backbone= one of ")
    return [*words, ("backbone", chosen)]


def _parse(text: str) -> Override:
    """Raises ConfigError for what Hydra cannot read, or would read as several runs."""
    GlobalHydra.instance().clear()
    if (override := _read(text)) is None:
        raise ConfigError(f"'{text}' is not an override", expected=typed.FORM)
    expected = "a list: key=[value,value]; decimals with a point; a sweep: -m"
    check_config(not override.is_sweep_override(), f"'{text}' lists values", expected)
    return override


def _read(text: str) -> Override | None:
    with suppress(HydraException):
        return PARSER.parse_override(text)
    return None


def sweep_values(text: str) -> list[str]:
    """The overrides of the jobs that one override of a sweep stands for: `a=1,2` is a=1 and a=2."""
    key, value = text.split("=", 1)
    override = _read(text)
    if override is None:
        return [f"{key}={typed.literal(value)}"]
    if not override.is_sweep_override():
        return [text]
    return [f"{key}={one}" for one in override.sweep_string_iterator()]


def _check_group(group: str, value: str, name: str) -> None:
    value = value[1:-1] if typed.is_quoted(value) else value
    options = options_of(group)
    if value not in options or not _fits(group, value, name):
        of_others = f"{group}={value} is not one of {name}"
        what = of_others if value in options else f"there is no {group} '{value}'"
        raise typed.unknown(what, value, [one for one in options if _fits(group, one, name)])


def _fits(group: str, value: str, name: str) -> bool:
    """Whether a command takes this value of a group: an experiment sets nothing that it lacks."""
    if group == "experiment":
        return _keys(f"experiment/{value}") <= _keys(name)
    return OF_ONE.get((group, value), name) == name


def experiments_of(name: str) -> list[str]:
    """The experiments of a command: those that set nothing that it does not have, sorted."""
    return [one for one in options_of("experiment") if _fits("experiment", one, name)]


def _keys(name: str) -> frozenset[str]:
    return _keys_of(name, config_dirs())


@lru_cache(maxsize=256)
def _keys_of(name: str, folders: tuple[Path, ...]) -> frozenset[str]:
    """The keys of a YAML and of those that it is composed of, and the groups that it chooses."""
    with _explained(str(_yaml(name))):
        content: Any = OmegaConf.to_container(OmegaConf.load(_yaml(name))) or {}
    check_config(isinstance(content, dict), "not a table of keys", "YAML keys", where=_yaml(name))
    defaults = content.pop("defaults", [])
    keys = {str(key) for key in content}
    for entry in defaults:
        if isinstance(entry, dict):
            keys |= {str(key).removeprefix("override /") for key in entry}
        elif entry.startswith("schema/"):
            keys |= _declared(entry.removeprefix("schema/"))
        elif entry != "_self_":
            keys |= _keys_of(str(PurePosixPath(name).parent / entry), folders)
    return frozenset(keys)


def _declared(name: str) -> set[str]:
    """The keys of a schema, which Hydra finds from now on."""
    if name not in SCHEMAS:
        what = f"there are no keys schema/{name}"
        raise typed.unknown(what, name, SCHEMAS, "schema/<command>, of ")
    _register(name)
    return {key.partition(".")[0] for key in keys_of(SCHEMAS[name])}


@lru_cache(maxsize=256)  # it is slow, and commands that call others choose the same groups often
def _composed(
    folders: tuple[Path, ...], name: str, groups: tuple[str, ...]
) -> tuple[DictConfig, dict[str, Any]]:
    """The configuration with its groups chosen, and its values (not to be changed)."""
    folder, others = search_path(name)
    at = partial(initialize_config_dir, folder, version_base="1.3", job_name=name)
    with _explained(name), _bare(), at():
        composed = hydra_compose(name, [*groups, *others])
    return composed, _contents(name, composed, [])


@contextmanager
def _bare() -> Iterator[None]:
    """Compose with BARE; afterwards Hydra has its groups again, which sweeps need."""
    of_hydra = ConfigStore.instance().repo["hydra"]
    whole = of_hydra["config.yaml"]
    of_hydra["config.yaml"] = replace(whole, node=BARE)
    try:
        yield
    finally:
        of_hydra["config.yaml"] = whole


@cache
def _register(name: str) -> None:
    """Let Hydra find a schema: `- schema/evaluate` in the defaults of a configuration."""
    node = OmegaConf.create()
    for key, about in keys_of(SCHEMAS[name]).items():
        OmegaConf.update(node, key, about.default)
    store: Any = ConfigStore.instance()
    store.store(name, node, "schema", "_global_")
    # Hydra copies all of it for every configuration, and again what it takes out.
    store.__deepcopy__ = lambda memo: store


def _contents(name: str, composed: DictConfig, given: Sequence[Override]) -> dict[str, Any]:
    """The values of a configuration, once those that are given stand in it."""
    composed = deepcopy(composed) if given else composed
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
    except Exception as error:  # of a damaged file YAML, OmegaConf and Hydra raise nearly anything
        first, *rest = str(error).strip().split("\n")
        said = ", ".join([first, *(line.strip() for line in rest if ".yaml" in line)])
        raise ConfigError(f"the configuration does not compose: {said}", where=name) from error


def _flat(config: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in config.items():
        flat[f"{prefix}{key}"] = value  # a key of YAML may be a number
        if isinstance(value, dict):
            flat.update(_flat(value, f"{prefix}{key}."))
    return flat
