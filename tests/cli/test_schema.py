"""The keys of commands: what a type takes, what it becomes, and what is said of it."""

from __future__ import annotations

from dataclasses import dataclass, field, fields, is_dataclass
from pathlib import Path
from types import NoneType
from typing import Any, Literal, get_args, get_origin, get_type_hints

import pytest

from ames_lite.cli import COMMANDS
from ames_lite.cli.compose import as_dict, compose, options_of
from ames_lite.cli.schema import SCHEMAS, help_of
from ames_lite.cli.schema.keys import Dataset, Head, PathText, groups_of, keys_of, listed
from ames_lite.cli.schema.values import alternatives, built, converted, has_paths, said
from ames_lite.errors import ConfigError
from ames_lite.evaluation.protocols import PROTOCOLS
from ames_lite.io.shipped import conf_dir
from tools import command_docs

assert command_docs  # which declares the commands that are not installed


@dataclass
class Inner:
    size: int = 3  # how large
    width: int = 4  # how wide


@dataclass
class Base:
    folder: Path | None = None  # a folder
    seed: int = 0


@dataclass
class Example(Base):
    """What it does"""

    dataset: Dataset = field(default_factory=Dataset)
    many: list[int] = listed(1, 2)  # numbers, of which
    # there may be many
    mode: Literal["a", "b"] = "a"
    # or b
    lists: PathText | None = None  # a kind or a path
    head: Head | None = None  # a head
    inner: Inner = field(default_factory=Inner)  # a part
    table: dict[str, Any] = field(default_factory=lambda: {"x": 1})  # free
    global_: str = "a"  # a word of Python
    seed: int = 7  # declared again


HOME = Path.home()
NO_GROUP = ("experiment=null", "recipe=null", "backbone=null", "dataset=null")
FITTING: list[tuple[Any, Any, Any]] = [
    (bool, True, True),
    (int, 3, 3),
    (float, 0.5, 0.5),
    (float, 3, 3),
    (str, "", ""),
    (Path, "~/a", HOME / "a"),
    (Path, Path("a"), Path("a")),
    (Path | None, None, None),
    (int | None, None, None),
    (int | list[int], [1, 2], [1, 2]),
    (int | list[int] | None, 5, 5),
    (list[str], [], []),
    (list[int | None], [None, 3], [None, 3]),
    (list[Path | list[Path]], ["a", ["~", "c"]], [Path("a"), [HOME, Path("c")]]),
    (str | list[str], ["a"], ["a"]),
    (str | float, 10, 10),
    (Literal["a", "b"], "b", "b"),
    (Literal["a", "b"] | None, None, None),
    (list[Literal["a", "b"]], ["b", "a"], ["b", "a"]),
    (dict[str, Any], {"x": None}, {"x": None}),
    (Any, [object], [object]),
    (Inner, {"size": 4}, Inner(size=4)),
    (Inner | None, None, None),
]
ODD: list[tuple[Any, Any, str]] = [
    (bool, 1, "true or false"),
    (bool, "true", "true or false"),
    (int, True, "a whole number"),
    (int, 1.0, "a whole number"),
    (int, "3", "a whole number"),
    (float, True, "a number"),
    (float, "0.5", "a number"),
    (float, None, "a number"),
    (int | float, [1], "a number"),
    (int | list[int], [True], "a whole number or a list, each a whole number$"),
    (list[int | float], [1, "a"], "a list, each a number"),
    (list[int], 5, r"a list, each a whole number: k=\[5\]"),
    (list[int | None], "x", "a list, each a whole number or null$"),
    (list[str], 5, r"a list, each a text: k=\[5\]"),
    (int | list[int] | None, "x", "a whole number or null or a list, each a whole number$"),
    (str, 5, "a text"),
    (str, None, "a text; the text null as \"k='null'\""),
    (Path, 5, "a path"),
    (list[Path], [5], "a list, each a path"),
    (list[Path | list[Path]], [[5]], "a list, each a path or a list, each a path"),
    (Literal["a", "b"], "c", "a or b"),
    (Literal["a", "b", "c"] | None, "d", "one of a, b, c or null"),
    (Literal["a", "b"], None, "a or b; the text null as"),
    (list[Literal["a", "b"]], ["a", "c"], "a list, each a or b"),
    (dict[str, Any], "x", "a table of keys"),
    (Inner, 5, "a table of keys"),
    (Inner, {"size": "x"}, "a whole number"),
]


@pytest.mark.parametrize("hint, value, expected", FITTING)
def test_what_fits_a_type_becomes_what_it_says(hint: Any, value: Any, expected: Any) -> None:
    found = converted("k", hint, value)
    assert found == expected and type(found) is type(expected)


@pytest.mark.parametrize("hint, value, expected", ODD)
def test_what_does_not_fit_is_refused_with_what_does(hint: Any, value: Any, expected: str) -> None:
    with pytest.raises(ConfigError, match=f"^k[^ ]*=(.|\n)*expected: +{expected}"):
        converted("k", hint, value)


def test_a_message_shows_a_value_as_it_is_typed() -> None:
    for value, typed in ((None, "null"), (True, "true"), (2.5, "2.5"), ([1, "a"], "[1,a]")):
        with pytest.raises(ConfigError) as error:
            converted("k", int, value)
        assert str(error.value).startswith(f"k={typed}\n")


def test_keys_are_the_fields_with_their_parts_dotted_and_their_groups_left_out() -> None:
    found = keys_of(Example)
    expected = "folder seed many mode lists head inner.size inner.width table global"
    assert list(found) == expected.split()
    assert {name for name, one in found.items() if one.path} == {"folder", "lists", "head"}
    assert [name for name, one in found.items() if one.mark == "head"] == ["head"]
    assert (found["seed"].default, found["seed"].help) == (7, "declared again")
    assert found["inner.size"][:3] == (int, 3, "how large")
    assert (found["folder"].hint, found["folder"].help) == (Path | None, "a folder")
    assert found["many"].help == "numbers, of which there may be many"
    assert found["mode"].help == "or b"
    assert groups_of(Example) == {"dataset": Dataset}


def test_paths_are_found_in_unions_and_lists() -> None:
    for hint in (Path, Path | None, list[Path], list[Path | list[Path]] | None):
        assert has_paths(hint)
    assert not any(has_paths(hint) for hint in (str, str | None, list[str], list[list[int]], int))


def test_defaults_are_not_shared() -> None:
    one, other = Example(), Example()
    one.many.append(3)
    one.inner.size = one.table["x"] = 5
    assert (other.many, other.inner.size, other.table) == ([1, 2], 3, {"x": 1})
    built(Example, {"many": (given := [4])}).many.append(5)
    assert given == [4]


def test_a_configuration_is_built_from_its_values_and_says_them_again() -> None:
    values = {"folder": "~/x", "inner": {"size": 1}, "lists": "~/y", "global": "b"}
    config = built(Example, values)
    assert (config.folder, config.lists, config.global_) == (HOME / "x", "~/y", "b")
    again = as_dict(config)
    assert again["folder"] == str(HOME / "x") and (again["seed"], again["head"]) == (7, None)
    assert built(Example, again) == config


@pytest.mark.parametrize(
    "values, message",
    [
        ({"nokey": 1}, "there is no key nokey(.|\n)*some of .*many"),
        ({"inner": {"length": 1}}, "there is no key inner.length(.|\n)*some of size, width$"),
        ({"inner": {"size": None}}, "^inner.size=null"),
        ({"global_": "a"}, "there is no key global_"),
    ],
)
def test_a_key_or_value_that_it_does_not_have_is_named(
    values: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        built(Example, values)


@pytest.mark.parametrize("name", SCHEMAS)
def test_every_command_composes_to_what_its_annotations_say(name: str) -> None:
    config = compose(name)
    assert type(config) is SCHEMAS[name]
    check(config)


@pytest.mark.parametrize("option", options_of("dataset"))
def test_every_data_set_is_what_its_annotations_say(option: str) -> None:
    """It names a protocol, a role and where it comes from."""
    dataset = compose("prepare_set", [f"dataset={option}"]).dataset
    check(dataset)
    protocols = [None] if option == "folder" else PROTOCOLS  # its dataset.json names it
    assert dataset.option == option and dataset.protocol in protocols
    assert dataset.role in ("train", "val", "test") and dataset.page


def check(config: Any) -> None:
    """Every value has the type of its field."""
    hints = get_type_hints(type(config))
    for one in fields(config):
        value = getattr(config, one.name)
        assert is_of(value, hints[one.name]), (type(config).__name__, one.name, value)
        if is_dataclass(value):
            check(value)


def is_of(value: Any, hint: Any) -> bool:
    if hint is Any:
        return True
    for one in alternatives(hint):
        kind, inside = get_origin(one), get_args(one)
        if kind is Literal:
            fits = value in inside
        elif kind is list:
            fits = isinstance(value, list) and all(is_of(each, inside[0]) for each in value)
        elif one is float:  # as for mypy, a whole number is one too
            fits = type(value) in (int, float)
        elif one in (bool, int, str, NoneType):
            fits = type(value) is one
        else:
            fits = isinstance(value, kind or one)
        if fits:
            return True
    return False


def test_every_command_has_a_schema_a_yaml_and_a_place() -> None:
    files = {path.stem for path in conf_dir().glob("*.yaml")}
    assert files == set(SCHEMAS)
    assert {place.split(":")[0].rpartition(".")[2] for place in COMMANDS.values()} <= files


@pytest.mark.parametrize("name", SCHEMAS)
def test_help_has_every_key_with_a_default_that_can_be_typed(name: str) -> None:
    rows = [row for row in help_of(name) if not row[0].endswith(".…")]
    groups = [row for row in rows if row[0] in {path.name for path in conf_dir().iterdir()}]
    assert rows[: len(groups)] == groups  # groups come first
    plain = compose(name)
    assert [key for key, _, _ in rows[len(groups) :]] == list(keys_of(SCHEMAS[name]))
    typed = [f"{key}={default}" for key, default, _ in rows if not default.startswith("${")]
    if "backbone=null" in typed:
        typed = [one for one in typed if not one.startswith("desc_name=")]  # which would choose one
    assert compose(name, [one for one in typed if one not in NO_GROUP]) == plain


def test_help_says_what_a_part_and_a_group_are() -> None:
    rows = {key: (default, meaning) for key, default, meaning in help_of("prepare_topk_global")}
    assert rows["aqe.…"] == ("", rows["aqe.…"][1]) and "query expansion" in rows["aqe.…"][1]
    assert list(rows).index("aqe.…") + 1 == list(rows).index("aqe.neighbors")
    assert rows["dataset"][0] == "roxford" and "rparis" in rows["dataset"][1]
    assert "names" in {k: m for k, _, m in help_of("extract_descriptors")}["backbone"]


def test_a_type_is_said_in_plain_words() -> None:
    assert said(int | float | None) == "a number or null"
    assert said(Literal["a", "b", "c"]) == "one of a, b, c"
    assert said(str | list[str]) == "a text or a list, each a text"
    assert said(dict[str, Any] | None) == "a table of keys or null"
