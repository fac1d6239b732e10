"""Values of a configuration made into what a field's type says; refused where they do not fit."""

from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from functools import cache
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from ames_lite.errors import ConfigError
from ames_lite.io.overrides import word

_hints = cache(get_type_hints)
WORDS: dict[Any, str] = {
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    str: "a text",
    Path: "a path",
    dict: "a table of keys",
    NoneType: "null",
}


def alternatives(hint: Any) -> tuple[Any, ...]:
    """The types of a union, or the one type.

    >>> alternatives(int | None)
    (<class 'int'>, <class 'NoneType'>)
    """
    return get_args(hint) if get_origin(hint) in (Union, UnionType) else (hint,)


def takes_text(hint: Any) -> bool:
    """Whether a value of this type is written as a text."""
    return any(one in (str, Path) or get_origin(one) is Literal for one in alternatives(hint))


def element(hint: Any) -> Any | None:
    """The type of the elements where lists are taken, else None."""
    lists = (get_args(one)[0] for one in alternatives(hint) if get_origin(one) is list)
    return next(lists, None)


def has_paths(hint: Any) -> bool:
    """Whether paths, or lists of them, are taken."""
    of_list = element(hint)
    return Path in alternatives(hint) or (of_list is not None and has_paths(of_list))


def said(hint: Any) -> str:
    """What a type takes, in words."""
    return " or ".join(dict.fromkeys(_said(alternatives(hint))))


def _said(options: tuple[Any, ...]) -> Iterator[str]:
    numbers = {int, float} <= set(options)
    for one in sorted(options, key=lambda one: get_origin(one) is list):
        if get_origin(one) is Literal:
            words = get_args(one)
            yield " or ".join(words) if len(words) < 3 else f"one of {', '.join(words)}"
        elif get_origin(one) is list:
            yield f"a list, each {said(get_args(one)[0])}"
        elif not (numbers and one is int):
            yield WORDS.get(get_origin(one) or one, "a table of keys")


def converted(name: str, hint: Any, value: Any) -> Any:
    """The value, texts of paths as paths. Raises ConfigError, which names the key."""
    for one in alternatives(hint):
        if _fits(one, value):
            return _as(name, one, value)
    expected = said(hint)
    if value is None and takes_text(hint):
        expected += f"; the text null as \"{name}='null'\""
    inner = element(hint)
    if inner is not None and any(one is str or _fits(one, value) for one in alternatives(inner)):
        expected += f": {name}=[{value}]"
    raise ConfigError(f"{name}={_shown(value)}", expected=expected)


def _fits(hint: Any, value: Any) -> bool:
    origin = get_origin(hint)
    if hint is Any:
        return True
    if origin is Literal:
        return isinstance(value, str) and value in get_args(hint)
    if origin is list:
        fits = alternatives(get_args(hint)[0])
        return isinstance(value, list) and all(any(_fits(f, v) for f in fits) for v in value)
    if hint is float:
        return isinstance(value, int | float) and not isinstance(value, bool)
    if hint is Path:
        return isinstance(value, str | Path)
    if origin is dict or is_dataclass(hint):
        return isinstance(value, dict)
    return isinstance(value, hint) and not (isinstance(value, bool) and hint is not bool)


def _as(name: str, hint: Any, value: Any) -> Any:
    if hint is Path:
        return Path(value).expanduser()
    if is_dataclass(hint):
        return built(hint, value, f"{name}.")
    if get_origin(hint) is list:
        return [converted(name, get_args(hint)[0], one) for one in value]
    return value


def _shown(value: Any) -> str:
    return value if isinstance(value, str) else word("", value).removeprefix("=")


def built(schema: Any, values: dict[str, Any], prefix: str = "") -> Any:
    """The dataclass with these values. Raises ConfigError for what it does not have or take."""
    hints = _hints(schema)
    names = {one.name.removesuffix("_"): one.name for one in fields(schema)}
    odd = sorted(set(values) - set(names))
    if odd:
        expected = f"some of {', '.join(names)}"
        raise ConfigError(f"there is no key {prefix}{odd[0]}", expected=expected)
    found = {names[k]: converted(prefix + k, hints[names[k]], v) for k, v in values.items()}
    return schema(**found)
