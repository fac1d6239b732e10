"""Words of a command line: overrides as people type them, and options as other READMEs write them.

Hydra's grammar gives brackets, blanks, commas, `~`, `$` and quotes a meaning, and turns 2023, 1e3
and true into numbers and booleans: texts (`images=my photos (1)`, `name=2023`) are therefore handed
to it in quotes. Options of AMES, ELViS and AnyLoc, `key=value` or the `--key value …` of argparse,
become ours by spellings.yaml.
"""

import difflib
import os
import re
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from ames_lite.cli.schema.keys import Key
from ames_lite.cli.schema.values import element, takes_text
from ames_lite.errors import ConfigError, check_config
from ames_lite.io.overrides import quoted

FORM = "key=value; a list as key=[1,2], texts with commas or brackets in it in quotes"
_KEY = re.compile(r"[A-Za-z_][\w.-]*")
_QUOTED = re.compile(r"(['\"])(?:\\.|(?!\1).)*\1", re.DOTALL)
# a quote opens only where an element begins: `it's` has none
_TOKEN = re.compile(rf"(?<![^,\[\s]){_QUOTED.pattern}|.", re.DOTALL)
DATASETS = {"dataset", "val_dataset", "sets", "sources"}  # keys whose values are data sets
LISTS = {"sets", "sources"}


def split_override(text: str) -> tuple[str, str]:
    """Key and value. Raises ConfigError for whatever else stands on a command line."""
    key, equals, value = text.partition("=")
    if key.startswith("-"):
        named = f"{key.lstrip('-').replace('-', '_')}={value}" if equals else "key=value"
        what = f"'{text}': there are no options with dashes"
        raise ConfigError(what, expected=f"{named}; --help lists the keys")
    bare = key.lstrip("+~").split("@")[0]
    if key[:1] in ("+", "~") and _KEY.fullmatch(bare):
        what = f"'{text}': keys can be neither added nor removed"
        raise ConfigError(what, expected=f"{bare}=value")
    if not equals or not _KEY.fullmatch(key):
        blanks = "; no blanks around =" if equals else "; blanks in the shell's quotes"
        raise ConfigError(f"'{text}' is not an override", expected=FORM + blanks)
    return key, value


def is_quoted(value: str) -> bool:
    """Whether a value stands in quotes as a whole.

    >>> is_quoted("'a b'"), is_quoted("a"), is_quoted("'a','b'")
    (True, False, False)
    """
    return _QUOTED.fullmatch(value) is not None


def literal(value: str) -> str:
    """A text in the quotes in which Hydra reads it back unchanged; one in quotes stays.

    >>> print(literal("it's (1)"), literal("'done'"))
    'it\\'s (1)' 'done'
    """
    return value if is_quoted(value) else quoted(value)


def literal_path(value: str) -> str:
    """The same of a path; one that begins with ~ and means nobody's home is a file's own name."""
    if value.startswith("~") and os.path.expanduser(value) == value:
        value = str(Path.cwd() / value)
    return literal(value)


def literal_list(value: str, quote: Callable[[str], str] = literal) -> str:
    """A list `[a,b,[c]]` of texts, each in quotes; unbalanced brackets stay as they are.

    >>> print(literal_list("[my runs (1),2023,['x',y]]"))
    ['my runs (1)','2023',['x','y']]
    """
    parts = _parts(value[1:-1])
    if parts is None:
        return value
    texts = [literal_list(one, quote) if is_list(one) else quote(one) for one in parts]
    return f"[{','.join(texts)}]"


def is_list(value: str) -> bool:
    return value.startswith("[") and value.endswith("]")


def written(key: str, value: str, about: Key) -> str:
    """The override; where a key takes a text, its value is quoted so that Hydra leaves it alone."""
    quote, of_list = literal_path if about.path else literal, element(about.hint)
    if is_list(value) and of_list is not None:
        texts = takes_text(of_list) or element(of_list) is not None
        return f"{key}={literal_list(value, quote) if texts else value}"
    if value == "null" or not (takes_text(about.hint) or (of_list and about.path)):
        return f"{key}={value}"
    check_config(not about.path or value.strip(), f"{key}= is empty", "a path, or null")
    return f"{key}={quote(value)}"


def _parts(inside: str) -> list[str] | None:
    """What commas outside of quotes and brackets separate; None where brackets do not match."""
    parts, depth = [""], 0
    for token in _TOKEN.finditer(inside):
        depth += {"[": 1, "]": -1}.get(token[0], 0)
        if depth < 0:
            return None
        if token[0] == "," and depth == 0:
            parts.append("")
        else:
            parts[-1] += token[0]
    stripped = [part.strip() for part in parts]
    return None if depth else [part for part in stripped if part or len(stripped) > 1]


def unknown(
    what: str,
    word: str,
    options: Collection[str],
    expected: str = "one of ",
    meaning: Mapping[str, str] | None = None,
) -> ConfigError:
    """The error for a word that is none of the options: it lists them, those like it first.
    meaning: other words for options; one that is like them counts too.
    """
    others = {one: option for one, option in (meaning or {}).items() if option in options}
    by_lower = others | {option.lower(): option for option in sorted(options, reverse=True)}
    close = difflib.get_close_matches(word.lower(), by_lower, n=3)
    near = list(dict.fromkeys(by_lower[one] for one in close))
    meant = f" (did you mean {near[0]}?)" if near else ""
    listed = [*near, *sorted(set(options) - set(near))]
    return ConfigError(what + meant, expected=expected + ", ".join(listed))


def in_our_words(command: str, words: Sequence[str]) -> list[str]:
    """The words with published options replaced; prints one line that says what was understood.
    Raises ConfigError for an option whose meaning differs here, with what to write instead.
    """
    options = _table()["common"] | _table().get(command, {})
    result: list[str] = []
    understood: list[str] = []
    for word, key, values in _options(words, options):
        if key is None:
            result.append(word)
            continue
        replaced = _replaced(word, options[key], values)
        if replaced != [word]:
            understood += replaced or [f"{word} ({options[key]['ignored']})"]
        result += replaced
    if understood:
        print(f"understood as {' '.join(understood)}")
    return result


@cache
def _table() -> dict[str, Any]:
    table: dict[str, Any] = yaml.safe_load(
        Path(__file__).with_name("spellings.yaml").read_text("utf-8")
    )
    return table


def synonyms() -> dict[str, str]:
    """Words that other projects use for keys, and these keys."""
    return {word: key for key, words in _table()["synonyms"].items() for word in words}


def _options(
    words: Sequence[str], options: dict[str, Any]
) -> Iterator[tuple[str, str | None, list[str]]]:
    """Each word as it stands, its key in `options` or None, and its values."""
    rest = list(words)
    while rest:
        word = rest.pop(0)
        name, equals, value = word.partition("=")
        key = name.removeprefix("--")
        if key not in options or not (equals or name.startswith("--")):
            yield word, None, []
        elif equals:
            yield word, key, [value]
        else:
            values = []
            while rest and not rest[0].startswith("-") and "=" not in rest[0]:
                values.append(rest.pop(0))
            yield " ".join([word, *values]), key, values


def _replaced(word: str, option: Any, values: list[str]) -> list[str]:
    """Our words for one option; none for an option that is ignored."""
    rule: dict[str, Any] = {"key": option} if isinstance(option, str) else option
    asked = [one for value in values for one in value.strip("[]").split(",")]
    if "instead" in rule or not set(asked) <= set(rule.get("only", asked)):
        expected = rule.get("instead") or f"only {','.join(rule['only'])}: {rule['ignored']}"
        raise ConfigError(f"'{word}' means something else here", expected=expected)
    if "ignored" in rule:
        return []
    key, value = rule["key"], ",".join(values)
    if key in DATASETS:
        value = ",".join(_table()["datasets"].get(one, one) for one in asked)
    if value in rule.get("values", {}):
        return f"{key}={rule['values'][value]}".split(" ")
    if key in LISTS:
        value = f"[{','.join(rule.get('each', '{}').format(one) for one in value.split(','))}]"
    elif len(values) > 1:
        raise ConfigError(f"'{word}' has several values", expected="one value")
    return [f"{key}={value}", *rule.get("more", [])]
