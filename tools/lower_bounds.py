"""The pins of a requirements file, each at the lowest version that pyproject.toml allows.

PyTorch stays at its pin: older wheels bring several GB of CUDA along. What pyproject.toml does not
name stays too, and so do the tools that judge the code.
"""

import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

from packaging.requirements import Requirement

ROOT = Path(__file__).resolve().parents[1]
STAY = ("torch", "ruff", "mypy")


def lower_bounds(file: str) -> Iterator[str]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"].values()
    asked = map(
        Requirement, [*project["dependencies"], *(one for extra in extras for one in extra)]
    )
    lowest = {
        one.name: part.version for one in asked for part in one.specifier if part.operator == ">="
    }
    for line in (ROOT / file).read_text(encoding="utf-8").splitlines():
        if line and not line.startswith("#"):
            pin = Requirement(line)
            at = next(iter(pin.specifier)).version
            if pin.marker is None or pin.marker.evaluate():
                yield f"{pin.name}=={at if pin.name in STAY else lowest.get(pin.name, at)}"


if __name__ == "__main__":
    print("\n".join(lower_bounds(sys.argv[1])))
