"""The examples of docstrings, module by module; modules without examples are not imported."""

import doctest
import re
from importlib import import_module
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
ROOMS = ("ames_lite", "benchmarks", "tools", "tests")
PATHS = [path.relative_to(ROOT) for room in ROOMS for path in sorted(ROOT.glob(f"{room}/**/*.py"))]
EXAMPLE = re.compile(r"^ *>>> ", re.MULTILINE)
COUNTS = {path: len(EXAMPLE.findall((ROOT / path).read_text("utf-8"))) for path in PATHS}


@pytest.mark.parametrize("path", [path for path, count in COUNTS.items() if count], ids=str)
def test_examples_print_what_they_show(path: Path) -> None:
    parts = path.with_suffix("").parts
    module = import_module(".".join(parts[:-1] if parts[-1] == "__init__" else parts))
    result = doctest.testmod(module)
    assert result == (0, COUNTS[path]), "(failed, attempted): every >>> is tried"
