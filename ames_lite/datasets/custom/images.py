"""The images of a custom dataset: which there are, their side (query or gallery), their names.

With a second folder for the queries, names are relative to the folder that holds both, so that
`database/0001.jpg` and `queries/0001.jpg` stay two images. Labels may name an image relative to its
own folder or to the root; a name that fits two images is refused.
"""

import os
import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from ames_lite.datasets.names import Where, check_once, check_utf8
from ames_lite.datasets.relation import SIDES
from ames_lite.errors import BadInput, require
from ames_lite.io.images import check_header, list_folder, no_images
from ames_lite.io.walking import is_hidden, names_of, real_folders, why_left_out


@dataclass(frozen=True, eq=False)
class ImageFolders:
    """All images below the given folders, sorted; names are relative to `root`.

    prefixes: by side, what its folder is called from the root ("" or "queries/"); `apart` where
    the two sides have folders of their own: then an image is of the side whose folder it is in.
    """

    root: Path
    prefixes: dict[str, str]
    names: dict[str, tuple[str, ...]]  # by side; the same tuple twice unless apart
    notes: tuple[str, ...] = ()  # what was left out of the folders

    @cached_property
    def _known(self) -> dict[str, dict[str, str]]:
        """By side, and as written in NFC too: one file system decomposes é, another does not."""
        named = {side: {name: name for name in self.names[side]} for side in SIDES}
        return {s: {_composed(name): name for name in named[s]} | named[s] for s in SIDES}

    @property
    def apart(self) -> bool:
        return self.prefixes["query"] != self.prefixes["gallery"]

    def all_names(self) -> tuple[str, ...]:
        """Every image once: queries behind the gallery where they are apart."""
        return self.names["gallery"] + (self.names["query"] if self.apart else ())

    def find(self, name: str, side: str | None) -> str | None:
        """The image that a written name means, or None. side: where it must be, or None: anywhere.

        `./a.jpg`, `b//a.jpg`, `b/../a.jpg`, backslashes, blanks around it and absolute paths are
        understood where no image is called just so, and a file that is there counts whatever its
        suffix. Raises BadInput where it is no image, where the name means two images, one of each
        folder, and for a path that leads out of the folders.
        """
        places = SIDES if side is None else (side,)
        found: list[str] = []
        for look in (self._as_written, self._as_path, self._unlisted):
            if not found:
                found = list(dict.fromkeys(n for place in places for n in look(name, place)))
        if len(found) > 1:
            what = f"'{name}' fits '{found[0]}' and '{found[1]}'"
            raise BadInput(what, expected=f"a path from {self.root}, such as '{found[0]}'")
        if not found:
            self._refuse_outside(name, places)
        return found[0] if found else None

    def _as_written(self, name: str, place: str) -> list[str]:
        known = self._known[place]
        for written in (name, _composed(name)):
            forms = (written, self.prefixes[place] + written)
            found = [known[form] for form in forms if form in known]
            if found:
                return found
        return []

    def _as_path(self, name: str, place: str) -> list[str]:
        """The images of a side that a path leads to, by links too."""
        path = self.path(name, place)
        names = [os.path.relpath(path, self.root), *names_of(path, self._folders)]
        return [n for one in names for n in self._as_written(Path(one).as_posix(), place)]

    def _unlisted(self, name: str, place: str) -> list[str]:
        """A file that is there under a suffix that is not listed. BadInput where it is no image."""
        path = self.path(name, place)
        hidden = any(map(is_hidden, Path(os.path.relpath(path, self.root)).parts))
        if hidden or not path.is_relative_to(self.path("", place)) or not path.is_file():
            return []
        check_header(path)
        form = path.relative_to(self.root).as_posix()
        self._known[place][form] = form
        return [form]

    def path(self, name: str, place: str) -> Path:
        """What a name written as a path means: from the folder of a side, or absolute."""
        plain = os.path.expanduser(name.strip().replace("\\", "/"))
        return Path(os.path.normpath(self.root / self.prefixes[place] / plain))

    def _refuse_outside(self, name: str, places: Sequence[str]) -> None:
        drive = re.match(r"[A-Za-z]:[\\/]", name.strip())
        roots = [self.path("", side) for side in SIDES]
        inside = [any(map(self.path(name, place).is_relative_to, roots)) for place in places]
        what = f"'{name}' lies outside of the folder of the images"
        expected = f"a path below {self.folder(None)}, or relative to it"
        require(any(inside) and not drive, what, expected=expected)

    @cached_property
    def _folders(self) -> dict[str, str]:
        return real_folders(self.root, self.all_names())

    def side_of(self, name: str) -> str | None:
        """The side whose folder an image is in; None where both share one."""
        sides = SIDES if self.apart else ()
        return next((side for side in sides if name.startswith(self.prefixes[side])), None)

    def within_side(self, name: str) -> str:
        side = self.side_of(name)
        return name if side is None else name.removeprefix(self.prefixes[side])

    def folder(self, side: str | None) -> str:
        """The folder of a side, for messages; None: of both."""
        sides = SIDES if side is None else (side,)
        return " and ".join(dict.fromkeys(str(self.path("", place)) for place in sides))


def find_images(
    images: str | Path,
    query_images: str | Path | None = None,
    *,
    named: bool = False,
    second: str = "query_images",
) -> ImageFolders:
    """All images below `images`, and below `query_images` where the queries are apart.

    named: a table names the images, so that a folder may have others only. second: the key that
    gave the second folder. Raises MissingFile; BadInput for a folder without images, for two of
    which one holds the other, and for names that are not UTF-8.
    """
    gallery = Path(images).expanduser().absolute()
    if query_images is None:
        names, notes = _listed(gallery, named)
        return ImageFolders(gallery, dict.fromkeys(SIDES, ""), dict.fromkeys(SIDES, names), notes)
    query = Path(query_images).expanduser().absolute()
    folders = {"query": query.resolve(), "gallery": gallery.resolve()}
    root = Path(os.path.commonpath(list(folders.values())))
    if root in folders.values():
        expected = "two folders side by side"
        if second == "query_images":
            expected += ", or one folder and a column `split`"
        what = f"one of the folders images= and {second}= holds the other"
        raise BadInput(what, where=f"{second}={query} and images={gallery}", expected=expected)
    prefixes = {side: folders[side].relative_to(root).as_posix() + "/" for side in SIDES}
    found = {side: _listed(folders[side], named) for side in SIDES}
    listed = {side: tuple(prefixes[side] + name for name in found[side][0]) for side in SIDES}
    notes = tuple(f"{prefixes[side]}: {note}" for side in SIDES for note in found[side][1])
    return ImageFolders(root, prefixes, listed, notes)


def _listed(folder: Path, named: bool) -> tuple[tuple[str, ...], tuple[str, ...]]:
    names, notes = list_folder(folder, say_others=not named)
    if not names and not named:
        raise no_images(folder)
    check_utf8(names, folder)
    return tuple(names), notes


def _composed(name: str) -> str:
    return name if name.isascii() else unicodedata.normalize("NFC", name)


def find_listed(
    images: ImageFolders, names: Sequence[str], sides: Sequence[str | None], where: Where
) -> list[str]:
    """The image of every written name; BadInput for those absent. sides: where each must be."""
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
        what = f"{len(absent)} of {len(names)} listed images are absent, first '{names[first]}'"
        why = _why_absent(images, names[first])
        example = "".join(f", such as '{name}'" for name in images.all_names()[:1])
        raise BadInput(
            what + (f" ({why})" if why else ""),
            where=f"{where(first)} against {images.folder(sides[first])}",
            expected=f"paths from {images.root}{example}",
        )
    return found


def _why_absent(images: ImageFolders, name: str) -> str | None:
    for side in SIDES:
        why = why_left_out(images.root, os.path.relpath(images.path(name, side), images.root))
        if why:
            return why
    alike = {other.lower(): other for other in images.all_names()}.get(name.lower())
    return alike and f"did you mean '{alike}'?"


def respelt(written: Sequence[str], found: Sequence[str], images: ImageFolders) -> tuple[str, ...]:
    """A note where names are written otherwise than the images are called."""
    prefixes = set(images.prefixes.values())
    other = [
        (name, image)
        for name, image in zip(written, found, strict=True)
        if image != name and image not in {prefix + name for prefix in prefixes}
    ]
    if not other:
        return ()
    (name, image), count = other[0], len(other)
    form = "in another Unicode form" if _composed(name) == _composed(image) else f"for '{image}'"
    what = "1 name is" if count == 1 else f"{count} names are"
    return (f"{what} written otherwise than the images, first '{name}' {form}: matched",)


def check_unique(
    names: Sequence[str],
    where: Where,
    said: Sequence[str] | None = None,
    written: Sequence[str] | None = None,
    expected: str = "every image once",
) -> None:
    """BadInput where a name stands twice. said: what a row says; written: as in the file."""

    def more(first: int, second: int) -> str:
        text = ""
        if written is not None and {written[first], written[second]} != {names[second]}:
            text += f", there written '{written[first]}' and here '{written[second]}'"
        if said is not None and said[first] != said[second]:
            text += f", there as '{said[first]}' and here as '{said[second]}'"
        return text

    check_once(names, where, expected=expected, more=more)
