"""One HTML file that shows ranked lists of images and why pairs of them are similar: the template
library of the reports of evaluations and searches, and its thumbnails. The page holds its pictures,
style and script itself. Its policy (CSP) lets nothing else run or load. The script draws the
queries that are in sight from the page's JSON.
"""

import base64
import hashlib
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from ames_lite.errors import BadInput, MissingFile
from ames_lite.evaluation.pair_view import PairView
from ames_lite.io.images import Box, jpeg_bytes, load_image, thumbnail
from ames_lite.io.writing import replacing

HERE = Path(__file__).parent
PIXELS = {"tile": 160, "pair": 400}  # longer side; pair: of a query, of a pair with a view
OF_MANY = {"tile": 96, "pair": 240}  # on a page of more
MANY = {"tile": 4000, "pair": 1000}
NOT_FOUND, NOT_READABLE = "image not found", "image not readable"
AT_ONCE = 4  # images that are decoded side by side


def pixels(kind: str, count: int) -> int:
    """The longer side of pictures of a kind, of a page with so many."""
    return (OF_MANY if count > MANY[kind] else PIXELS)[kind]


@dataclass(frozen=True)
class Tile:
    """One image of a list."""

    name: str
    picture: int  # number
    rank: int | None  # from 1; None: junk, which takes no rank
    before: int | None  # its rank before; None: nothing is said of it
    tag: str  # easy, hard, right, wrong, junk; empty: nobody has said
    said: str  # score


@dataclass(frozen=True)
class QueryView:
    """A query and its lists."""

    name: str
    picture: int
    said: str
    aps: Sequence[float] | None  # average precision before and after, or of the one list
    marks: Sequence[str]  # what the filter finds it by: harmed, failed, …
    lists: Sequence[Sequence[Tile]]
    pairs: Mapping[int, PairView] = field(default_factory=dict)  # by the number of the picture


@dataclass(frozen=True)
class Queries:
    """What the script draws; titles: of the lists of each query."""

    views: Sequence[QueryView]
    titles: Sequence[str]
    pair_note: str = ""  # what the marks of a pair mean
    opened: bool = False  # the page is the first pair alone


def say_score(value: float) -> str:
    """Without the sign of a zero."""
    return f"{round(value, 3) + 0:.3f}"


def say_box(box: Box | None) -> list[str]:
    return [] if box is None else [f"crop box {', '.join(f'{x:.0f}' for x in box)}"]


def write_page(path: str | Path, page: str) -> Path:
    """Write the text of a page, in place of one that is there; returns the path."""
    with replacing(path, overwrite=True) as partial:
        partial.write_text(page, encoding="utf-8", errors="backslashreplace")
    return Path(path)


class Picture(NamedTuple):
    """A thumbnail [h, w, 3], or None and what is wrong with the image."""

    image: npt.NDArray[np.uint8] | None
    trouble: str = ""


def make_picture(path: Path, longer_side: int, box: Box | None = None) -> Picture:
    """box: a crop to outline, in pixels of the whole image."""
    try:
        return Picture(thumbnail(load_image(path), longer_side, box))
    except MissingFile:
        return Picture(None, NOT_FOUND)
    except BadInput:
        return Picture(None, NOT_READABLE)


class Encoded(NamedTuple):
    """A picture of a page; trouble: why it has no data."""

    data: str  # base64 of a JPEG
    trouble: str


@dataclass
class PagePictures:
    """The images of a page by number: each once, at the largest size that something asks for."""

    sides: dict[tuple[Path, Box | None], int] = field(default_factory=dict)
    numbers: dict[tuple[Path, Box | None], int] = field(default_factory=dict)

    def number(self, path: Path, longer_side: int, box: Box | None = None) -> int:
        """See `make_picture`."""
        key = (path, box)
        self.sides[key] = max(self.sides.get(key, 0), longer_side)
        return self.numbers.setdefault(key, len(self.numbers))

    @cached_property
    def encoded(self) -> list[Encoded]:
        """All of them, by number, once no more are added."""
        with ThreadPoolExecutor(AT_ONCE) as pool:
            return list(pool.map(_encode, self.sides, self.sides.values()))


def _encode(key: tuple[Path, Box | None], longer_side: int) -> Encoded:
    path, box = key
    found = make_picture(path, longer_side, box)
    if found.image is None:
        return Encoded("", found.trouble)
    return Encoded(base64.b64encode(jpeg_bytes(found.image)).decode("ascii"), "")


def say_troubles(pictures: Iterable[Encoded]) -> list[str]:
    """How many could not be shown, in words."""
    troubles = [one.trouble for one in pictures]
    counts = {trouble: troubles.count(trouble) for trouble in (NOT_FOUND, NOT_READABLE)}
    return [f"{what}: {count}" for what, count in counts.items() if count]


def render_page(
    name: str, folder: Path, content: Mapping[str, Any], queries: Queries, pictures: PagePictures
) -> str:
    """The page as text. name: of a template that extends page.html.j2; its content is escaped."""
    environment = Environment(
        loader=FileSystemLoader([folder, HERE]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["fraction"] = _fraction
    data = {**asdict(queries), "pictures": pictures.encoded}
    style, script = ((HERE / file).read_text("utf-8") for file in ("page.css", "page.js"))
    digests = (hashlib.sha256(text.encode()).digest() for text in (script, style))  # of the policy
    return environment.get_template(name).render(
        content,
        style=Markup(style),
        script=Markup(script),
        hashes=[f"sha256-{base64.b64encode(one).decode('ascii')}" for one in digests],
        data=Markup(json.dumps(data, allow_nan=False).replace("<", "\\u003c")),
        num_views=len(queries.views),
        explained=any(pair.heat for view in queries.views for pair in view.pairs.values()),
        troubles=say_troubles(pictures.encoded),
    )


def _fraction(value: float | None, form: str = ".4f") -> str:
    return "–" if value is None or math.isnan(value) else format(value, form)
