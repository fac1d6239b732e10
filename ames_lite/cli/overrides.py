"""Overrides as people type them: `images=my photos (1)`, `name=2023`, `results=[a b,c]`. Hydra's
grammar gives brackets, blanks, commas, `~`, `$` and quotes a meaning, and turns 2023, 1e3 and true
into numbers and booleans. Texts are therefore handed to it in quotes.
"""

import difflib
import os
import re
from collections.abc import Callable, Collection, Mapping
from pathlib import Path

from ames_lite.cli.schema.keys import Key
from ames_lite.cli.schema.values import element, takes_text
from ames_lite.errors import ConfigError, check_config
from ames_lite.io.overrides import quoted

FORM = "key=value; a list as key=[1,2], texts with commas or brackets in it in quotes"
_KEY = re.compile(r"[A-Za-z_][\w.-]*")
_QUOTED = re.compile(r"(['\"])(?:\\.|(?!\1).)*\1", re.DOTALL)
# a quote opens only where an element begins: `it's` has none
_TOKEN = re.compile(rf"(?<![^,\[\s]){_QUOTED.pattern}|.", re.DOTALL)


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
