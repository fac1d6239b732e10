"""The lowest version of every dependency that pyproject.toml allows, as pip takes them.

PyTorch stays at the pin of requirements.txt: older wheels bring several GB of CUDA along.
"""

import re
import tomllib
from pathlib import Path

from packaging.requirements import Requirement

ROOT = Path(__file__).resolve().parents[1]


def lower_bounds() -> list[str]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    pins = (ROOT / "requirements.txt").read_text(encoding="utf-8")
    found = []
    for text in project["dependencies"]:
        one = Requirement(text)
        lowest = next(part.version for part in one.specifier if part.operator == ">=")
        if one.name == "torch":
            lowest = re.findall(r"^torch==(\S+)", pins, re.MULTILINE)[0]
        if one.marker is None or one.marker.evaluate():
            found.append(f"{one.name}=={lowest}")
    return found


if __name__ == "__main__":
    print("\n".join(lower_bounds()))
