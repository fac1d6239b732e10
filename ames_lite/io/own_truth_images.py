"""The images of a set of one's own: which there are, which side they are on, what they are called.

In: a folder, and a second one where the queries have a folder to themselves. Out: names relative to
one root, as image lists want them.

The convention to know: with two folders the root is the folder that holds both, so that
`database/0001.jpg` and `queries/0001.jpg` stay two images. Whoever writes labels may name an image
relative to its own folder or to the root; a name that fits two images is refused.
"""

from __future__ import annotations

import os
import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ames_lite.errors import BadInput
from ames_lite.io.image_lists import check_utf8
from ames_lite.io.images import check_header, list_images, no_images

SIDES = ("query", "gallery")


@dataclass(frozen=True, eq=False)
class OwnImages:
    """All images below the given folders, sorted; names are relative to `root`.

    prefixes: by side, what its folder is called from the root ("" or "queries/"); `apart` where
    the two sides have folders of their own: then an image is of the side whose folder it is in.
    """

    root: Path
    prefixes: dict[str, str]
    names: dict[str, tuple[str, ...]]  # by side; the same tuple twice unless apart
    _known: dict[str, dict[str, str]] = field(init=False, repr=False)  # by side

    def __post_init__(self) -> None:
        known = {}
        for side in SIDES:  # as written in NFC: one file system decomposes é, another does not
            known[side] = {_composed(name): name for name in self.names[side]}
            known[side] |= {name: name for name in self.names[side]}
        object.__setattr__(self, "_known", known)

    @property
    def apart(self) -> bool:
        """Whether the queries have a folder to themselves."""
        return self.prefixes["query"] != self.prefixes["gallery"]

    def all_names(self) -> tuple[str, ...]:
        """Every image once: queries behind the gallery where they are apart."""
        return self.names["gallery"] + (self.names["query"] if self.apart else ())

    def find(self, name: str, side: str | None) -> str | None:
        """The image that a written name means, or None. side: where it must be, or None: anywhere.

        A file that is there counts whatever its suffix. Raises BadInput where it is no image, and
        where the name means two images, one of each folder.
        """
        found: list[str] = []
        for place in SIDES if side is None else (side,):
            known = self._known[place]
            for written in (name, _composed(name)):
                for form in (written, self.prefixes[place] + written):
                    if form in known and known[form] not in found:
                        found.append(known[form])
                if found:
                    break
            if not found and (other := self._unlisted(name, place)) is not None:
                found.append(other)
        if len(found) > 1:
            what = f"'{name}' fits '{found[0]}' and '{found[1]}'"
            raise BadInput(what, expected=f"a path from {self.root}, such as '{found[0]}'")
        return found[0] if found else None

    def _unlisted(self, name: str, place: str) -> str | None:
        """A file that is there under a suffix that is not listed. BadInput where it is no image."""
        if Path(name).is_absolute() or ".." in Path(name).parts:
            return None
        for form in (name, self.prefixes[place] + name):
            if (self.root / form).is_file() and form.startswith(self.prefixes[place]):
                check_header(self.root / form)
                self._known[place][form] = form
                return form
        return None

    def within_side(self, name: str) -> str:
        """The name relative to the folder of its side."""
        for side in SIDES:
            if self.apart and name in self._known[side]:
                return name.removeprefix(self.prefixes[side])
        return name

    def side_of(self, name: str) -> str | None:
        """The side whose folder an image is in; None where both share one."""
        if not self.apart:
            return None
        return "query" if name in self._known["query"] else "gallery"

    def folder(self, side: str | None) -> str:
        """The folder of a side, for messages; None: of both."""
        sides = SIDES if side is None else (side,)
        places = [str(self.root / self.prefixes[place]) for place in sides]
        return " and ".join(dict.fromkeys(places))


def find_images(
    images: str | Path, query_images: str | Path | None = None, *, named: bool = False
) -> OwnImages:
    """All images below `images`, and below `query_images` where the queries are apart.

    named: a table names the images, so that a folder may have others only. Raises MissingFile for
    a folder that is not there; BadInput for one without images, for two of which one holds the
    other, and for names that are not UTF-8.
    """
    gallery = Path(images).expanduser().absolute()
    if query_images is None:
        names = _listed(gallery, named)
        return OwnImages(gallery, dict.fromkeys(SIDES, ""), dict.fromkeys(SIDES, names))
    query = Path(query_images).expanduser().absolute()
    folders = {"query": query.resolve(), "gallery": gallery.resolve()}
    root = Path(os.path.commonpath(list(folders.values())))
    if root in folders.values():
        raise BadInput(
            "one of the folders of queries and gallery holds the other",
            where=f"query_images={query} and images={gallery}",
            expected="two folders side by side, or one folder and a column `split`",
        )
    prefixes = {side: folders[side].relative_to(root).as_posix() + "/" for side in SIDES}
    listed = {
        side: tuple(prefixes[side] + name for name in _listed(folders[side], named))
        for side in SIDES
    }
    return OwnImages(root, prefixes, listed)


def _listed(folder: Path, named: bool) -> tuple[str, ...]:
    names = list_images(folder, say_others=not named)
    if not names and not named:
        raise no_images(folder)
    check_utf8(names, folder)
    return tuple(names)


def _composed(name: str) -> str:
    return name if name.isascii() else unicodedata.normalize("NFC", name)


def find_listed(
    images: OwnImages,
    names: Sequence[str],
    sides: Sequence[str | None],
    where: Callable[[int], str],
) -> list[str]:
    """The image of every written name; sides: where each must be; where: file and line of a row.

    Raises BadInput, with the first line and how many there are, for images that are not there.
    """
    found, absent = [], []
    for row, (name, side) in enumerate(zip(names, sides, strict=True)):
        try:
            image = images.find(name, side)
        except BadInput as error:
            raise BadInput(str(error), where=where(row)) from error
        found.append(image or "")
        if image is None:
            absent.append(row)
    if absent:
        first = absent[0]
        example = "".join(f", such as '{name}'" for name in images.all_names()[:1])
        raise BadInput(
            f"{len(absent)} of {len(names)} listed images are absent, first '{names[first]}'",
            where=f"{where(first)} against {images.folder(sides[first])}",
            expected=f"paths from {images.root}{example}",
        )
    return found


def check_unique(names: Sequence[str], said: Sequence[str], where: Callable[[int], str]) -> None:
    """Raise BadInput where a name stands twice; said: what each row says of it."""
    first: dict[str, int] = {}
    for row, name in enumerate(names):
        before = first.setdefault(name, row)
        if before != row:
            what = f"'{name}' is listed twice, first in {where(before)}"
            if said[before] != said[row]:
                what += f", there as '{said[before]}' and here as '{said[row]}'"
            raise BadInput(what, where=where(row), expected="every image once")
