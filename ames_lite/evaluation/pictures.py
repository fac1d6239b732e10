"""What all pages with images share: thumbnails that are made once, and the HTML templates."""

import base64
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from ames_lite.errors import BadInput, MissingFile
from ames_lite.io.images import Box, jpeg_bytes, load_image, thumbnail
from ames_lite.io.writing import replacing

HERE = Path(__file__).parent
THUMBNAIL, QUERY_THUMBNAIL = 160, 240  # longer side, pixels
NOT_FOUND, NOT_READABLE = "image not found", "image not readable"


@dataclass(frozen=True, eq=False)
class Picture:
    """A thumbnail [h, w, 3], or None and what is wrong with the image."""

    image: npt.NDArray[np.uint8] | None
    trouble: str = ""

    @cached_property
    def address(self) -> str:
        """The thumbnail as a data address; empty where there is none."""
        if self.image is None:
            return ""
        encoded = base64.b64encode(jpeg_bytes(self.image)).decode("ascii")
        return f"data:image/jpeg;base64,{encoded}"


@dataclass
class Album:
    """Thumbnails of the images below `root`, each made once; remembers what could not be shown."""

    root: Path
    made: dict[tuple[str, int, Box | None], Picture] = field(default_factory=dict)

    def picture(self, name: str, longer_side: int = THUMBNAIL, box: Box | None = None) -> Picture:
        """box: a crop to outline, in pixels of the whole image."""
        key = (name, longer_side, box)
        if key not in self.made:
            self.made[key] = self._make(*key)
        return self.made[key]

    def _make(self, name: str, longer_side: int, box: Box | None) -> Picture:
        try:
            return Picture(thumbnail(load_image(self.root / name), longer_side, box))
        except MissingFile:
            return Picture(None, NOT_FOUND)
        except BadInput:
            return Picture(None, NOT_READABLE)

    def troubles(self) -> dict[str, str]:
        """What is wrong with the images that could not be shown, by name."""
        made = self.made.items()
        return {name: picture.trouble for (name, *_), picture in made if picture.image is None}


def write_page(path: str | Path, template: str, folder: Path, content: Mapping[str, Any]) -> Path:
    """Render a template of a folder, in place of a page that is there; returns the path. A template
    may import from those of this folder; what is put in is escaped.
    """
    environment = Environment(
        loader=FileSystemLoader([folder, HERE]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["fraction"] = _fraction
    page = environment.get_template(template).render(content)
    with replacing(path, overwrite=True) as partial:
        partial.write_text(page, encoding="utf-8", errors="backslashreplace")
    return Path(path)


def _fraction(value: float | None, form: str = ".4f") -> str:
    return "–" if value is None or math.isnan(value) else format(value, form)
