"""What is shipped with the project, conf/ and weights/: beside the package in a checkout, inside it
where it is installed.
"""

from pathlib import Path

PACKAGE = Path(__file__).resolve().parents[1]


def conf_dir() -> Path:
    return _folder("conf", "evaluate.yaml")


def shipped(name: str) -> Path:
    """Where the file or folder of this name below weights/ is, or would be."""
    return _folder("weights", ".") / name


def _folder(name: str, has: str) -> Path:
    beside = PACKAGE.parent / name
    return beside if (beside / has).exists() else PACKAGE / name
