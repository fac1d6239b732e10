"""`key=value` as the command line takes it, and whole commands to be pasted into a shell.

What stands in quotes is text to Hydra, also where it looks like a number.
"""

import re
import shlex
from collections.abc import Iterable
from typing import Any

_PLAIN = re.compile(r"[A-Za-z_/.][\w./+-]*")
_NOT_TEXT = ("true", "false", "null", "nan", "inf")


def word(key: str, value: Any) -> str:
    """`key=value`; None is null.

    >>> word("weights", "runs/a b"), word("lamb", [0.5, 1]), word("tuned", None)
    ("weights='runs/a b'", 'lamb=[0.5,1]', 'tuned=null')
    >>> word("layers", {"vitg": 31})
    'layers={vitg:31}'
    """
    return f"{key}={_value(value)}"


def _value(value: Any) -> str:
    if value is None or isinstance(value, bool):
        return "null" if value is None else str(value).lower()
    if isinstance(value, list | tuple):
        return f"[{','.join(map(_value, value))}]"
    if isinstance(value, dict):
        return f"{{{','.join(f'{key}:{_value(one)}' for key, one in value.items())}}}"
    if isinstance(value, int | float):
        return str(value)
    text = str(value)
    if _PLAIN.fullmatch(text) and text.isascii() and text.lower() not in _NOT_TEXT:
        return text
    return quoted(text)


def quoted(text: str) -> str:
    """A text in the quotes in which Hydra reads it back.

    >>> print(quoted("it's (1)"))
    'it\\'s (1)'
    """
    # a backslash counts only before a quote, the end or an interpolation, and then for half of two
    text = re.sub(r"(\\*)\$\{", r"\1\1\\${", text)
    return "'" + re.sub(r"(\\*)('|\Z)", lambda m: m[1] * 2 + (r"\'" if m[2] else ""), text) + "'"


def shell_word(text: str) -> str:
    """A word in the quotes that a shell wants, if any.

    >>> shell_word("images='my pictures'"), shell_word("splits=[query]")
    ('"images=\\'my pictures\\'"', 'splits=[query]')
    """
    if re.fullmatch(r"[\w=./+:,@%\[\]-]+", text, re.ASCII):
        return text
    return shlex.quote(text) if re.search(r'[$`\\"!]', text) else f'"{text}"'


def paste(script: str, words: Iterable[str]) -> str:
    """The command line of a script with these words."""
    return " ".join(["python", script, *map(shell_word, words)])
