"""Options as the READMEs of AMES, ELViS and AnyLoc write them, turned into ours. The table is
spellings.yaml. Words are `key=value`, or the `--key value …` of argparse.
"""

from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from ames_lite.errors import ConfigError

DATASETS = {"dataset", "val_dataset", "sets", "sources"}  # keys whose values are data sets
LISTS = {"sets", "sources"}


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
    table: dict[str, Any] = yaml.safe_load(Path(__file__).with_suffix(".yaml").read_text("utf-8"))
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
