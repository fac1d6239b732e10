"""A page of ours, read with html.parser: what stands in it, and the JSON that its script draws."""

from __future__ import annotations

import base64
import io
import json
from html.parser import HTMLParser
from typing import Any

import numpy as np
from PIL import Image


class Page(HTMLParser):
    """What is on the page: the text and the table outside its script, and the views in its JSON."""

    def __init__(self, source: str) -> None:
        super().__init__()
        self.source, self.text, self.tags = source, "", list[str]()
        self.table: list[list[str]] = []
        self.addresses: list[str] = []
        self.policy = self._script = self._json = ""
        self._cell = False
        self.feed(source)
        self.text = " ".join(self.text.split())
        data = json.loads(self._json)
        self.views: list[dict[str, Any]] = data["views"]
        self.pictures: list[tuple[str, str]] = data["pictures"]

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = {key: value or "" for key, value in attrs}
        self.tags.append(tag)
        self.addresses += [values[key] for key in ("src", "href") if key in values]
        self._script = values.get("type", "code") if tag in ("script", "style") else ""
        if values.get("http-equiv") == "Content-Security-Policy":
            self.policy = values["content"]
        if tag == "tr":
            self.table.append([])
        self._cell = tag in ("th", "td") or (self._cell and tag == "small")
        if tag in ("th", "td"):
            self.table[-1].append("")

    def handle_data(self, data: str) -> None:
        if self._script == "application/json":
            self._json += data
        elif not self._script:
            self.text += data
        if self._cell:
            self.table[-1][-1] += data

    def handle_endtag(self, tag: str) -> None:
        self._script = ""
        self._cell = self._cell and tag not in ("th", "td", "small")

    def tiles(self) -> list[dict[str, Any]]:
        return [tile for view in self.views for tiles in view["lists"] for tile in tiles]

    def image(self, number: int) -> np.ndarray:
        return np.asarray(Image.open(io.BytesIO(base64.b64decode(self.pictures[number][0]))))
