"""The images of a custom dataset: which there are, their side (query or gallery), their names.

With a second folder for the queries, names are relative to the folder that holds both. Labels may
name an image relative to its own folder or to the root; a name that fits two images is refused.
"""

import os
import re
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from ames_lite.datasets.relation import SIDES
from ames_lite.errors import BadInput, require
from ames_lite.io.images import check_header, is_image_name, list_folder, no_images
from ames_lite.io.names import Where, check_utf8
from ames_lite.io.walking import is_hidden, names_of, real_folders, why_left_out

Names = Sequence[str]
Sides = Sequence[str | None]  # where an image must be; None: anywhere


@dataclass(frozen=True, eq=False)
class ImageFolders:
    """All images below the given folders, sorted, the gallery's first."""

    root: Path
    prefixes: dict[str, str]  # by side, what its folder is called from the root; "": both share it
    names: tuple[str, ...]  # from the root
    notes: tuple[str, ...]  # what was left out of the folders

    @cached_property
    def _known(self) -> dict[str, str]:
        """By name, and as written in NFC too: one file system decomposes é, another does not."""
        return {_composed(name): name for name in self.names} | {n: n for n in self.names}

    @cached_property
    def _folders(self) -> dict[str, str]:
        return real_folders(self.root, self.names)

    def of_side(self, side: str) -> list[str]:
        return [name for name in self.names if name.startswith(self.prefixes[side])]

    def side_of(self, name: str) -> str | None:
        """The side whose folder an image is in; None where both share one."""
        fitting = [side for side in SIDES if name.startswith(self.prefixes[side])]
        return fitting[0] if len(fitting) == 1 else None

    def within_side(self, name: str) -> str:
        return name.removeprefix(self.prefixes[self.side_of(name) or "gallery"])

    def folder(self, side: str | None) -> str:
        """The folder of a side, for messages; None: of both."""
        sides = SIDES if side is None else (side,)
        return " and ".join(dict.fromkeys(str(self.path("", place)) for place in sides))

    def path(self, name: str, place: str) -> Path:
        """What a name written as a path means: from the folder of a side, or absolute."""
        plain = os.path.expanduser(name.strip().replace("\\", "/"))
        return Path(os.path.normpath(self.root / self.prefixes[place] / plain))

    def find(self, name: str, side: str | None) -> str | None:
        """The image that a written name means, or None. side: where it must be; None: anywhere.

        An id is the one image whose file is called so. Other forms of a path (`b/../a.jpg`,
        backslashes, blanks around, absolute) are understood where no image is called just so, and a
        file counts whatever its suffix. BadInput: it is no image, two, or out of the folders.
        """
        places = SIDES if side is None else (side,)
        for look in (self._as_written, self._as_id, self._as_path, self._unlisted):
            found = list(dict.fromkeys(n for place in places for n in look(name, place)))
            if len(found) > 1:
                what = f"'{name}' fits '{found[0]}' and '{found[1]}'"
                raise BadInput(what, expected=f"a path from {self.root}, such as '{found[0]}'")
            if found:
                return found[0]
        self._refuse_outside(name, places)
        return None

    def _as_written(self, name: str, place: str) -> list[str]:
        prefix = self.prefixes[place]
        for written in (name, _composed(name)):
            known = [self._known.get(form) for form in (written, prefix + written)]
            if found := [image for image in known if image and image.startswith(prefix)]:
                return found
        return []

    @cached_property
    def flat(self) -> tuple[str, ...]:
        """The sides that have a folder of their own without folders in it."""
        if self.prefixes["query"] == self.prefixes["gallery"]:
            return ()
        deep = {self.side_of(name) for name in self.names if "/" in self.within_side(name)}
        return tuple(side for side in SIDES if side not in deep)

    @cached_property
    def _by_id(self) -> dict[str, list[str]]:
        """Names by what their files are called, without folder and suffix."""
        found: dict[str, list[str]] = {}
        for name in self.names:
            found.setdefault(os.path.splitext(os.path.basename(name))[0], []).append(name)
        return found

    def _as_id(self, name: str, place: str) -> list[str]:
        images = [] if is_image_name(name) else self._by_id.get(name.strip(), [])
        return [image for image in images if image.startswith(self.prefixes[place])]

    def _as_path(self, name: str, place: str) -> list[str]:
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
        self._known[form] = form
        return [form]

    def _refuse_outside(self, name: str, places: Sequence[str]) -> None:
        drive, roots = re.match(r"[A-Za-z]:[\\/]", name.strip()), [self.path("", s) for s in SIDES]
        inside = [any(map(self.path(name, place).is_relative_to, roots)) for place in places]
        what = f"'{name}' lies outside of the folder of the images"
        expected = f"a path below {self.folder(None)}, or relative to it"
        require(any(inside) and not drive, what, expected=expected)


def find_images(
    images: str | Path,
    query_images: str | Path | None = None,  # where the queries are apart
    *,
    named: bool = False,  # a table names the images: a folder may have none
    second: str = "query_images",  # the key of the second folder
) -> ImageFolders:
    """All images below the folders. Raises MissingFile; BadInput for a folder without images, for
    two of which one holds the other, and for names that are not UTF-8.
    """
    gallery = Path(images).expanduser().absolute()
    if query_images is None:
        names, notes = _listed(gallery, named)
        return ImageFolders(gallery, dict.fromkeys(SIDES, ""), tuple(names), notes)
    query = Path(query_images).expanduser().absolute()
    folders = {"gallery": gallery.resolve(), "query": query.resolve()}
    root = Path(os.path.commonpath(list(folders.values())))
    what = f"one of the folders images= and {second}= holds the other"
    where, expected = f"{second}={query} and images={gallery}", "two folders side by side"
    expected += ", or one folder and a column `split`" * (second == "query_images")
    require(root not in folders.values(), what, where=where, expected=expected)
    prefixes = {side: f"{path.relative_to(root).as_posix()}/" for side, path in folders.items()}
    names, notes = [], ()
    for side, prefix in prefixes.items():
        found, said = _listed(folders[side], named)
        names += [prefix + name for name in found]
        notes += tuple(f"{prefix}: {note}" for note in said)
    return ImageFolders(root, prefixes, tuple(names), notes)


def _listed(folder: Path, named: bool) -> tuple[list[str], tuple[str, ...]]:
    names, notes = list_folder(folder, say_others=not named)
    if not names and not named:
        raise no_images(folder)
    check_utf8(names, folder)
    return names, notes


def _composed(name: str) -> str:
    return name if name.isascii() else unicodedata.normalize("NFC", name)


def find_listed(
    images: ImageFolders, names: Names, sides: Sides, where: Where, some: bool = False
) -> list[str]:
    """The image of every written name; BadInput for those absent, or "" where `some` may be."""
    found, absent = [], []
    for row, (name, side) in enumerate(zip(names, sides, strict=True)):
        try:
            image = images.find(name, side)
        except BadInput as error:
            raise BadInput(str(error), where=where(row)) from error
        found.append(image or "")
        if image is None:
            absent.append(row)
    if absent and not some:
        first = absent[0]
        what = f"{len(absent)} of {len(names)} listed images are absent, first '{names[first]}'"
        example = "".join(f", such as '{name}'" for name in images.names[:1])
        what += _why_absent(images, names[first])
        against = f"{where(first)} against {images.folder(sides[first])}"
        raise BadInput(what, where=against, expected=f"paths from {images.root}{example}")
    return found


def _why_absent(images: ImageFolders, name: str) -> str:
    for side in SIDES:
        why = why_left_out(images.root, os.path.relpath(images.path(name, side), images.root))
        if why:
            return f" ({why})"
    alike = {other.lower(): other for other in images.names}.get(name.lower())
    return f" (did you mean '{alike}'?)" if alike else ""


def respelt(found: Mapping[str, str], images: ImageFolders) -> tuple[str, ...]:
    """A note where names, as written, are not those of the images found."""
    prefixes = {"", *images.prefixes.values()}
    other = [pair for pair in found.items() if pair[1] not in {p + pair[0] for p in prefixes}]
    if not other:
        return ()
    (name, image), count = other[0], len(other)
    form = "in another Unicode form" if _composed(name) == _composed(image) else f"for '{image}'"
    what = "1 name is" if count == 1 else f"{count} names are"
    return (f"{what} written otherwise than the images, first '{name}' {form}: matched",)
