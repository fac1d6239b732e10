"""A text of the command line arrives as it was typed, whatever Hydra's grammar makes of it."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from ames_lite.cli.compose import compose
from ames_lite.cli.overrides import is_quoted, unknown

SIGNS = [*"'\"\\$(){}[],=~#;:%@*?!|&<>` aé\n\t", "${", "0", "1e3", "null"]
FIXED = (
    *("my photos (1)", "2023", "1e3", "true", "nan", "0x10", "???", "a=b", " a ", "C:\\x\\"),
    *("${data_root}", "${oc.env:HOME}", "it's", "'", "'a", "[a]", "{a: b}", "a,b", "%20", "None"),
)


def drawn(num: int) -> list[str]:
    """Texts of hostile signs, but for those that have a meaning of their own."""
    generator = random.Random(0)
    texts = ["".join(generator.choices(SIGNS, k=generator.randint(1, 12))) for _ in range(num)]
    return [t for t in texts if t.strip() and t != "null" and not is_quoted(t) and t[0] != "~"]


def test_a_path_arrives_as_it_was_typed() -> None:
    for text in (*FIXED, *drawn(20)):
        assert compose("prepare_dataset", [f"images={text}"]).images == Path(text)


@pytest.mark.parametrize("key", ["name", "desc_name", "neighbors", "backbone.arguments.weights"])
@pytest.mark.parametrize("text", ["2023", "my photos (1)"])
def test_so_does_any_text(key: str, text: str) -> None:
    command = "extract_descriptors" if key.startswith("backbone") else "evaluate"
    config = compose(command, [f"{key}={text}"])
    for part in key.split("."):
        config = config[part] if isinstance(config, dict) else getattr(config, part)
    assert config == text


def test_null_and_quotes_keep_their_meaning() -> None:
    assert compose("prepare_dataset", ["images=null"]).images is None
    for quoted in ("'my photos (1)'", '"my photos (1)"'):
        assert compose("prepare_dataset", [f"images={quoted}"]).images == Path("my photos (1)")
    assert compose("prepare_dataset", ["images='null'"]).images == Path("null")


def test_paths_in_a_list_arrive_as_they_were_typed() -> None:
    config = compose("compare", ["results=[my run (1),2023,it's,['x,y',b=c]]"])
    assert config.results == [
        *(Path("my run (1)"), Path("2023"), Path("it's")),
        [Path("x,y"), Path("b=c")],
    ]
    assert compose("compare", ["results=[]"]).results == []
    assert compose("search", ["box=[1,2,30,40]"]).box == [1, 2, 30, 40]


def test_a_tilde_is_the_home_where_it_names_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert compose("search", ["images=~/a"]).images == Path.home() / "a"
    assert compose("search", ["images=~no one"]).images == tmp_path / "~no one"
    assert compose("compare", ["results=[~no one]"]).results == [tmp_path / "~no one"]


def test_the_nearest_option_comes_first() -> None:
    error = unknown("no model 'rancas'", "rancas", ["ames", "ransac"])
    assert "did you mean ransac?" in str(error) and "one of ransac, ames" in str(error)
