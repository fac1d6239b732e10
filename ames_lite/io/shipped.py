"""What is shipped with the project: weights/, beside the package, or inside it installed."""

from __future__ import annotations

from pathlib import Path


def shipped(name: str) -> Path:
    """Where the file or folder of this name below weights/ is, or would be."""
    package = Path(__file__).resolve().parents[1]
    beside = package.parent / "weights"
    return (beside if beside.is_dir() else package / "weights") / name
