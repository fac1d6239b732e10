"""The released heads, weights/<desc>_<model>/, and for VLAD their vocabulary."""

from glob import escape
from pathlib import Path

from ames_lite.errors import MissingFile
from ames_lite.extraction.backbones.photo import WHITENING
from ames_lite.io.shipped import shipped

NUM_RERANK = 400  # candidates that λ and γ of the released heads on sift are chosen for
REMEDY = (
    "of a whole checkout backbone=photo model=elvis, or backbone=sift model=elvis or ames; or "
    "weights=<folder> of a head of your own: make demo trains one in minutes "
    "(runs/demo_…/train); or model=ransac, which needs none"
)


def released_head(desc_name: str = "sift", model: str = "ames") -> Path:
    """The folder of a released head. Raises MissingFile."""
    path = shipped(f"{desc_name}_{model}")
    if not (path / "weights.safetensors").is_file():
        what = f"no head is released for backbone={desc_name} model={model}"
        files = "weights.safetensors and meta.json"
        raise MissingFile(what, where=path, expected=files, remedy=REMEDY)
    return path


def released_vocabulary(desc_name: str = "sift", model: str = "ames") -> Path | None:
    """The VLAD vocabulary beside that head; of a model without one, beside ames; None: none."""
    folders = (shipped(f"{desc_name}_{model}"), shipped(f"{desc_name}_ames"))
    found = [
        path
        for folder in folders
        for path in sorted(folder.glob(f"vlad_{escape(desc_name)}_*.npz"))
    ]
    return found[0] if found else None


def released_whitening() -> Path:
    """The whitening of photographs' GeM that backbone=photo uses."""
    return shipped(WHITENING)
