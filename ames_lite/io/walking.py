"""Walking folders of images: the one owner of which entries count, for lists and indexes alike.

Left out: what begins with a dot and what systems put beside pictures (HIDDEN), anywhere below the
folder; the folder's own path may be hidden. Links to folders are followed, each real folder once:
what lies in the folder itself goes by its own name, a second way to it is not taken. A link to an
image is an image. What was left out is said in notes, one line a kind.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from ames_lite.errors import BadInput, MissingFile

HIDDEN = {  # in lower case: archives, network disks, recycle bins
    *("__macosx", "@eadir", "#recycle", "@recycle", "#snapshot", "$recycle.bin", "recycler"),
    *("system volume information", "lost+found", "thumbs.db", "ehthumbs.db", "desktop.ini"),
}
DUE = "names that begin with a dot and folders of the system (__MACOSX, @eaDir, …) are left out"


class Walk(NamedTuple):
    """What a folder holds: names (paths from it, `/`-separated, sorted) with entries, and notes."""

    files: list[tuple[str, os.DirEntry[str]]]
    notes: tuple[str, ...]


def is_hidden(name: str) -> bool:
    """Whether an entry of that name is left out."""
    return name.startswith(".") or name.lower() in HIDDEN


def walk_images(folder: str | Path, suffixes: Sequence[str]) -> Walk:
    """All files below a folder whose suffix, in lower case, is one of those.

    Raises MissingFile where there is no such folder; BadInput where it is a file, or where part of
    it cannot be read.
    """
    root = Path(folder)
    if root.is_file():
        raise BadInput("a file is given as an image folder", where=root, expected="a folder")
    if not root.is_dir():
        raise MissingFile("an image folder is missing", where=root, expected="a folder")
    walker = _Walker(tuple(suffixes))
    try:
        walker.walk(str(root))
    except OSError as error:
        what = f"the folder cannot be read: {error}"
        raise BadInput(what, where=root, expected="a folder that may be read") from error
    return Walk(sorted(walker.files, key=lambda file: file[0]), tuple(walker.notes()))


def why_left_out(root: Path, name: str) -> str | None:
    """Why a walk of `root` left out the name of a file that is there; None where it is not."""
    path = root / name
    if any(is_hidden(part) for part in Path(name).parts):
        return DUE if path.exists() else None
    dead = next((p for p in (path, *path.parents) if p.is_symlink() and not p.exists()), None)
    return None if dead is None else f"'{dead}' is a link that leads nowhere"


def real_folders(root: str | Path, names: Iterable[str]) -> dict[str, str]:
    """Real paths of the folders that names of a walk lie in, and what the names call them."""
    folders = {name.rpartition("/")[0] for name in names}
    return {os.path.realpath(os.path.join(root, folder)): folder for folder in sorted(folders)}


def names_of(path: Path, folders: Mapping[str, str]) -> list[str]:
    """What a walk may call a file, by whatever path it is reached; folders: `real_folders`."""
    places = [(os.path.realpath(place.parent), place.name) for place in (path, path.resolve())]
    return [f"{folders[at]}/{name}".lstrip("/") for at, name in places if at in folders]


@dataclass
class _Walker:
    suffixes: tuple[str, ...]
    files: list[tuple[str, os.DirEntry[str]]] = field(default_factory=list)
    real: dict[str, str] = field(default_factory=dict)  # of files that are no links, their names
    seen: dict[str, str] = field(default_factory=dict)  # real paths of folders, what they are named
    links: list[os.DirEntry[str]] = field(default_factory=list)  # to folders, still to follow
    num_hidden: int = 0
    hidden: list[str] = field(default_factory=list)
    dead: list[str] = field(default_factory=list)
    again: list[str] = field(default_factory=list)

    def walk(self, root: str) -> None:
        self._descend(root, "")
        cut = len(os.path.join(root, ""))
        while self.links:  # behind all real folders, so that these keep their own names
            links, self.links = sorted(self.links, key=lambda link: link.path), []
            for link in links:
                self._descend(link.path, link.path[cut:].replace(os.sep, "/") + "/")

    def _descend(self, path: str, prefix: str) -> None:
        todo = [(path, prefix, os.path.realpath(path))]
        while todo:
            path, prefix, real = todo.pop()
            if real in self.seen:
                known = self.seen[real].rstrip("/") or "the folder itself"
                self.again.append(f"{prefix.rstrip('/')} ({known})")
                continue
            self.seen[real] = prefix
            with os.scandir(path) as entries:
                for entry in sorted(entries, key=lambda one: one.name):
                    if self._take(entry, prefix, real):
                        below = (entry.path, f"{prefix}{entry.name}/", f"{real}/{entry.name}")
                        todo.append(below)

    def _take(self, entry: os.DirEntry[str], prefix: str, real: str) -> bool:
        """Sort an entry in; True for a folder that is no link."""
        name, is_link = prefix + entry.name, entry.is_symlink()
        if is_hidden(entry.name):
            count = sum(1 for one in _files_in(entry) if self._is_image(one))
            self.num_hidden += count
            self.hidden += [name] if count else []
        elif is_link and not os.path.exists(entry.path):
            self.dead.append(name)
        elif entry.is_dir():
            if not is_link:
                return True
            self.links.append(entry)
        elif self._is_image(entry.name) and entry.is_file():
            self.files.append((name, entry))
            if not is_link:
                self.real[f"{real}/{entry.name}"] = name
        return False

    def _is_image(self, name: str) -> bool:
        return os.path.splitext(name)[1].lower() in self.suffixes

    def notes(self) -> Iterator[str]:
        if self.hidden:
            yield f"{_count(self.num_hidden, 'hidden image')} left out: {_few(self.hidden)}"
        if self.dead:
            yield f"{_count(len(self.dead), 'link')} left out, leading nowhere: {_few(self.dead)}"
        if self.again:
            what = _count(len(self.again), "linked folder")
            yield f"{what} not followed, listed already: {_few(self.again)}"
        twice = list(self._twice())
        if twice:
            what = _count(len(twice), "image")
            yield f"{what} listed under several names, by links: {_few(twice)}"

    def _twice(self) -> Iterator[str]:
        known = dict(self.real)
        for name, entry in self.files:
            if entry.is_symlink():
                other = known.setdefault(os.path.realpath(entry.path), name)
                if other != name:
                    yield f"{name} ({other})"


def _files_in(entry: os.DirEntry[str]) -> Iterator[str]:
    """Names of the files of a hidden entry; what cannot be read there is left out all the same."""
    if not entry.is_dir(follow_symlinks=False):
        yield entry.name
        return
    for _, _, names in os.walk(entry.path):
        yield from names


def _count(number: int, what: str) -> str:
    return f"{number} {what} is" if number == 1 else f"{number} {what}s are"


def _few(names: Sequence[str]) -> str:
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return ", ".join(names[:3]) + more
