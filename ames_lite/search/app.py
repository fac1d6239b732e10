"""The app of a session: a page that gradio draws. All that is found comes from the session. It is
served by uvicorn alone: no tunnel, no statistics, no font or script of another machine.
"""

import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import lru_cache
from html import escape
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from ames_lite.errors import UserError
from ames_lite.evaluation.page import AT_ONCE, make_picture
from ames_lite.io.images import load_image, thumbnail
from ames_lite.search.page import ABSENT
from ames_lite.search.session import Listing, Query, Session, Settings
from ames_lite.search.web import Server, guarded, server_of

os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"  # read when gradio is imported

import gradio as gr  # noqa: E402

SIDE, LARGE = 240, 640  # longer side of a thumbnail, of the query
PAGE = 24  # images of the folder shown at a time
UPLOAD = "100mb"  # at most
START = "Choose an image of the folder, or upload one."
HOW = "Each image: its rank, its rank by global similarity, its score. A click shows the matches."
FONT, MONO = ["system-ui", "sans-serif"], ["ui-monospace", "monospace"]
SHOW = "() => document.getElementById('{}').scrollIntoView({{block: '{}', behavior: 'smooth'}})"
STYLE = """
.gradio-container { max-width: 1480px !important; }
.pictures .grid-wrap { height: auto; max-height: none; padding-top: 2rem; overflow-y: auto; }
.pictures .grid-container {
  grid-template-columns: repeat(auto-fill, minmax(118px, 1fr)) !important; align-items: start;
}
.pictures .thumbnail-item { aspect-ratio: auto; height: auto; }
.pictures .thumbnail-item img { aspect-ratio: 1; height: auto; }
.pictures .caption-label {
  position: static; max-width: 100%; border: 0; padding: 2px 4px; white-space: pre-line;
  overflow-wrap: anywhere; text-align: left;
}
#folder .grid-wrap { max-height: 60vh; }
#status p { margin: 0 0 0.3rem; overflow-wrap: anywhere; }
#pair iframe { width: 100%; height: min(92vh, 640px); border: 0; border-radius: 8px; }
@media (max-width: 700px) { #folder .grid-wrap { max-height: 19rem; } }
"""
Picture = npt.NDArray[np.uint8]
Found = tuple[str, Any, str]  # what is said, the results, the pair


class Look(NamedTuple):
    """What a visitor looks at; corner: of a box that has one so far, in pixels of the query."""

    query: Query | None = None
    corner: tuple[float, float] | None = None


def build_app(session: Session, about: str, top: int) -> gr.Blocks:
    """about: a line below the title; top: images that are shown of a list."""
    app = _App(session, top)
    with gr.Blocks(title=f"Search in {session.images.name}", analytics_enabled=False) as blocks:
        gr.HTML(f"<h1>{escape(blocks.title)}</h1>{_said(about)}")
        app.draw()
    return blocks


class _App:
    def __init__(self, session: Session, top: int) -> None:
        self._session, self._top = session, top
        self._thumbnail = lru_cache(1000)(self._make_thumbnail)

    def draw(self) -> None:
        hidden: Any = {"api_visibility": "private", "show_progress": "hidden"}
        latest = {**hidden, "trigger_mode": "always_last"}
        plain: Any = {"allow_preview": False, "interactive": False, "buttons": [], "height": "auto"}
        plain["elem_classes"] = "pictures"
        look, listed = gr.State(Look()), gr.State(self._names("", 1))
        small: Any = {"size": "sm", "min_width": 120}
        asked: Any = {"label": "Query: two clicks mark a part", "elem_id": "query", "height": 300}
        with gr.Row():
            with gr.Column(scale=1, min_width=320):
                picture = gr.Image(interactive=False, buttons=[], **asked)
                with gr.Row():
                    whole = gr.Button("Whole image", elem_id="whole", **small)
                    upload = gr.UploadButton("Upload an image", elem_id="upload", **small)
                find = gr.Textbox(label="Find by name", elem_id="find", max_length=200)
                page = gr.Slider(value=1, step=1, label="Page", elem_id="page", **self._pages(""))
                label, shown = "Images of the folder", self._thumbnails("", 1)
                folder = gr.Gallery(shown, label=label, elem_id="folder", **plain)
            with gr.Column(scale=2, min_width=320):
                status = gr.HTML(_said(START), elem_id="status")
                sliders = self._sliders()
                results = gr.Gallery(label="Found", elem_id="results", **plain)
                pair = gr.HTML(elem_id="pair")
        changed, inputs = [status, results, pair], [look, *sliders]
        whole_view = [look, picture, *changed]
        for searched in (
            folder.select(self._pick, [listed, *sliders], whole_view, **hidden),
            upload.upload(self._upload, [upload, *sliders], whole_view, **hidden),
        ):
            searched.then(js=SHOW.format("status", "nearest"), **hidden)
        picture.select(self._corner, inputs, whole_view, **hidden)
        whole.click(self._whole, inputs, whole_view, **hidden)
        for slider in sliders:
            slider.change(self._order, inputs, changed, **latest)
        opened = results.select(self._pair, inputs, pair, **hidden)
        opened.then(js=SHOW.format("pair", "start"), **hidden)
        find.change(self._find, find, [page, folder, listed], **latest)
        page.change(self._turn, [find, page], [folder, listed], **latest)

    def _sliders(self) -> list[gr.Slider]:
        lamb, temp, most = self._session.settings
        tenth = temp / 10
        with gr.Row():
            return [
                gr.Slider(0, 1, lamb, step=0.01, label="λ, global", elem_id="lamb"),
                gr.Slider(tenth, 10 * temp, temp, step=tenth, label="γ, logit", elem_id="temp"),
                gr.Slider(1, max(most, 2), most, step=1, label="Reranked", elem_id="num_rerank"),
            ]

    # --- images of the folder

    def _matching(self, words: str) -> list[str]:
        return [name for name in self._session.names if words.lower() in name.lower()]

    def _names(self, words: str, page: int) -> list[str]:
        return self._matching(words)[(page - 1) * PAGE : page * PAGE]

    def _pages(self, words: str) -> dict[str, Any]:
        pages = -(-len(self._matching(words)) // PAGE)
        return {"minimum": 1, "maximum": max(2, pages), "visible": pages > 1}

    def _thumbnails(self, words: str, page: int) -> list[tuple[Picture, str]]:
        names = self._names(words, page)
        return self._captioned(names, [Path(name).name for name in names])

    def _captioned(self, names: Sequence[str], texts: Sequence[str]) -> list[tuple[Picture, str]]:
        with ThreadPoolExecutor(AT_ONCE) as pool:
            return list(zip(pool.map(self._thumbnail, names), texts, strict=True))

    def _make_thumbnail(self, name: str) -> Picture:
        """Grey where an image can no longer be read."""
        image = make_picture(self._session.images / name, SIDE).image
        return np.full((SIDE, SIDE, 3), 128, np.uint8) if image is None else image

    def _find(self, words: str) -> tuple[Any, Any, list[str]]:
        return gr.Slider(value=1, **self._pages(words)), *self._turn(words, 1)

    def _turn(self, words: str, page: float) -> tuple[Any, list[str]]:
        return self._thumbnails(words, int(page)), self._names(words, int(page))

    # --- queries and what is found

    def _pick(self, chosen: gr.SelectData, listed: list[str], *settings: float) -> Any:
        path = self._session.images / listed[chosen.index]
        return self._look(Look(Query(path)), settings)

    def _upload(self, path: str, *settings: float) -> Any:
        return self._look(Look(Query(Path(path))), settings)

    def _whole(self, look: Look, *settings: float) -> Any:
        query = None if look.query is None else Query(look.query.path)
        return self._look(Look(query), settings)

    def _corner(self, chosen: gr.SelectData, look: Look, *settings: float) -> Any:
        """A click on the query: the first corner of a box, or the second."""
        return self._look(look, settings, chosen.index)

    def _look(
        self, look: Look, settings: Sequence[float], click: Sequence[float] | None = None
    ) -> tuple[Look, Picture | None, *Found]:
        if (query := look.query) is None:
            return look, None, _said(START), None, ""
        try:
            image = load_image(query.path)
        except UserError as error:
            return Look(), None, _trouble(error), None, ""
        outline, corner = query.box, look.corner
        if click is not None:
            enlarged = max(1.0, max(image.shape) / LARGE)  # of the picture that was clicked
            x, y = (enlarged * float(place) for place in click)
            if corner is None:
                corner, outline = (x, y), None
            else:
                (x0, y0), corner = corner, None
                outline = (min(x, x0), min(y, y0), max(x, x0), max(y, y0))
            look = Look(Query(query.path, outline), corner)
        if corner is not None:
            (x, y), mark = corner, max(image.shape) / 100
            outline = (x - mark, y - mark, x + mark, y + mark)
        return look, thumbnail(image, LARGE, outline), *self._order(look, *settings)

    def _order(self, look: Look, *settings: float) -> Found:
        if look.query is None:
            return _said(START), None, ""
        lamb, temp, most = settings
        try:
            listing = self._session.find(look.query, Settings(lamb, temp, int(most)), self._top)
        except UserError as error:
            return _trouble(error), None, ""
        captions = [
            f"{one.rank} (was {one.global_rank}) · {one.score:.3f}\n{Path(one.name).name}"
            for one in listing.results
        ]
        pictures = self._captioned([one.name for one in listing.results], captions)
        said = _said(*_about(look, listing), strong=ABSENT * listing.absent)
        return said, gr.Gallery(pictures, selected_index=None), ""

    def _pair(self, chosen: gr.SelectData, look: Look, *settings: float) -> str:
        assert look.query is not None
        lamb, temp, most = settings
        place, given = int(chosen.index), Settings(lamb, temp, int(most))
        try:
            page = self._session.pair(look.query, given, place)
        except UserError as error:
            return _trouble(error)
        title = "The query and the image, with their matches"
        return f'<iframe sandbox="allow-scripts" title="{title}" srcdoc="{escape(page)}"></iframe>'


def _about(look: Look, listing: Listing) -> Iterator[str]:
    assert look.query is not None
    part = "" if look.query.box is None else ", the part in the box"
    own = "" if listing.own is None else "; it is in the folder, and left out of its own list"
    yield f"{look.query.path.name}{part}{own}."
    if look.corner is not None:
        yield "The box has one corner: click on the opposite one."
    if listing.empty:
        yield "The query has no descriptors: no image is similar, their order is that of the names."
    yield HOW


def _said(*sentences: str, strong: str = "") -> str:
    first = f"<p><b>{escape(strong)}</b></p>" if strong else ""
    return f"{first}<p>{escape(' '.join(sentences))}</p>"


def _trouble(error: UserError) -> str:
    lines = "<br>".join(escape(line) for line in str(error).split("\n"))
    return f'<p role="alert">{lines}</p>'


@contextmanager
def served(session: Session, about: str, top: int, host: str) -> Iterator[Server]:
    """The server of the app, to be run; what visitors upload is removed at the end."""
    with TemporaryDirectory(prefix="ames_lite_") as scratch:
        os.environ["GRADIO_TEMP_DIR"] = scratch
        web = guarded(host, openapi_url=None)
        theme = gr.themes.Default(font=FONT, font_mono=MONO)
        how: Any = {"theme": theme, "css": STYLE, "max_file_size": UPLOAD, "footer_links": []}
        blocks = build_app(session, about, top)
        gr.mount_gradio_app(
            web, blocks, "/", ssr_mode=False, mcp_server=False, run_history=False, pwa=False, **how
        )
        # of open pages, which it does not wait for at the end, it would say that they were cut off
        yield server_of(web, "critical", 1)
