"""Whatever a name is: a command that is printed, pasted into a shell, says that very name."""

from __future__ import annotations

import shlex
import subprocess
import sys

import pytest

from ames_lite.cli.compose import compose
from ames_lite.io.overrides import paste, word

PLAIN = ["k", "my_set", "a-b.c+d/e", "/data/roxford5k+1m"]
ODD = [
    *("my set (1)", "a'b", "a''", "'", "''", '"q"', "a\\", "a\\\\", "a\\'b", "a\\b\\"),
    *("x$y", "$HOME", "${oc.env:HOME}", "\\${a}", "x\\\\${y}", "e'\\${a}'\\", "`a`", "!a"),
    *("a,b", "[x]", "{a:b}", "a=b", "#x", "é ö", "*", "?", "~x", "a:b", "a;b", "a|b&c", "<x>"),
    *("123", "1e3", "0012", "1_000", "true", "null", "inf", "nan", "-5", "1:2", "@x", "%", " x "),
]


@pytest.mark.parametrize("name", PLAIN + ODD)
def test_a_pasted_command_says_the_name_that_was_meant(name: str) -> None:
    line = paste("extract/prepare_topk_global.py", [word("name", name)])
    python, script, *words = shlex.split(line)
    assert (python, script) == ("python", "extract/prepare_topk_global.py")
    assert compose("prepare_topk_global", words).name == name
    assert (name in PLAIN) == (line == f"python {script} name={name}")


def test_a_shell_splits_as_we_quote() -> None:
    lines = [paste("-c", [word("name", name)]).removeprefix("python -c ") for name in ODD]
    script = "\n".join(f"{sys.executable} -c 'import sys; print(sys.argv[1])' {w}" for w in lines)
    found = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=True)
    assert found.stdout.splitlines() == [word("name", name) for name in ODD]


def test_lists_and_values_that_are_no_text() -> None:
    words = [word("splits", ["query"]), word("overwrite", True), word("images", None)]
    config = compose("extract_descriptors", shlex.split(paste("s", words))[2:])
    assert (config.splits, config.overwrite, config.images) == (["query"], True, None)
    assert paste("s", words) == "python s splits=[query] overwrite=true images=null"
