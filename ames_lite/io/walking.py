"""Walking folders of images: which entries count, for lists and indexes alike.

Left out, and said in notes: what begins with a dot and what systems put beside pictures (HIDDEN),
anywhere below the folder. Links are followed, but not to what is listed already by its own name,
nor to a folder above: each image counts once. Links that share a target elsewhere are images of
their own, as copies would be.
"""

import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import chain
from pathlib import Path

from ames_lite.errors import MissingFile, explained, require

HIDDEN = {  # in lower case: archives, network disks, recycle bins
    *("__macosx", "@eadir", "#recycle", "@recycle", "#snapshot", "$recycle.bin", "recycler"),
    *("system volume information", "lost+found", "thumbs.db", "ehthumbs.db", "desktop.ini"),
}
DUE = "names that begin with a dot and folders of the system (__MACOSX, @eaDir, …) are left out"
LEFT = {  # what is left out, and how that is said
    "hidden": ("hidden image", "left out"),
    "dead": ("link", "left out, leading nowhere"),
    "again": ("linked folder", "not followed, listed already or above"),
    "twice": ("linked image", "left out, listed already"),
}


class Walk:
    """What a folder holds: files (sorted `/`-separated paths, with entries), others, and notes."""

    def __init__(self, root: str, wanted: Callable[[str], bool]) -> None:
        self.wanted = wanted
        self.others: list[str] = []  # files that are not hidden and were not wanted
        self._found: list[tuple[str, os.DirEntry[str]]] = []
        self._real: dict[str, str] = {}  # of files that are no links, their names
        self._seen: dict[str, str] = {}  # real paths of folders, what they are named
        self._links: list[tuple[str, str]] = []  # folders to follow: path, name
        self._left: dict[str, Counter[str]] = {kind: Counter() for kind in LEFT}
        self._walk(root)
        self.others.sort()
        self.files = self._without_links_to_others()

    def _walk(self, root: str) -> None:
        above = os.path.join(os.path.realpath(root), "")
        self._descend(root, "")
        while self._links:  # behind all real folders, so that these keep their own names
            links, self._links = sorted(self._links), []
            for path, name in links:
                real = os.path.join(os.path.realpath(path), "")
                if real != above and above.startswith(real):
                    self._left["again"][f"{name} (a folder above)"] += 1
                else:
                    self._descend(path, f"{name}/")

    def _descend(self, path: str, prefix: str) -> None:
        real = os.path.realpath(path)
        if real in self._seen:
            known = self._seen[real].rstrip("/") or "the folder itself"
            self._left["again"][f"{prefix.rstrip('/')} ({known})"] += 1
            return
        self._seen[real] = prefix
        with os.scandir(path) as entries:
            found = sorted(entries, key=lambda entry: entry.name)
        for entry in found:
            self._take(entry, prefix, real)

    def _take(self, entry: os.DirEntry[str], prefix: str, real: str) -> None:
        """Sort an entry in, or go down into a folder that is no link."""
        name, is_link = prefix + entry.name, entry.is_symlink()
        if is_hidden(entry.name):
            count = sum(map(self.wanted, _files_in(entry)))
            self._left["hidden"].update({name: count} if count else {})
        elif is_link and not os.path.exists(entry.path):
            self._left["dead"][name] += 1
        elif entry.is_dir() and is_link:
            self._links.append((entry.path, name))
        elif entry.is_dir():
            self._descend(entry.path, f"{name}/")
        elif not self.wanted(entry.name):
            self.others.append(name)
        elif entry.is_file():
            self._found.append((name, entry))
            if not is_link:
                self._real[os.path.join(real, entry.name)] = name

    def _without_links_to_others(self) -> list[tuple[str, os.DirEntry[str]]]:
        kept = []
        for name, entry in sorted(self._found, key=lambda file: file[0]):
            other = self._real.get(os.path.realpath(entry.path)) if entry.is_symlink() else None
            if other is None:
                kept.append((name, entry))
            else:
                self._left["twice"][f"{name} ({other})"] += 1
        return kept

    @property
    def notes(self) -> tuple[str, ...]:
        said = []
        for kind, (what, how) in LEFT.items():
            names, count = list(self._left[kind]), self._left[kind].total()
            many = f"1 {what} is" if count == 1 else f"{count} {what}s are"
            more = f" and {len(names) - 5} more" if len(names) > 5 else ""
            said += [f"{many} {how}: {', '.join(names[:5])}{more}"] * bool(names)
        return tuple(said)


def is_hidden(name: str) -> bool:
    return name.startswith(".") or name.lower() in HIDDEN


def walk_images(folder: str | Path, wanted: Callable[[str], bool]) -> Walk:
    """All files below a folder whose names are wanted. Raises MissingFile, BadInput."""
    root, what = Path(folder), "a file is given as an image folder"
    require(not root.is_file(), what, where=root, expected="a folder")
    what = "an image folder is missing"
    require(root.is_dir(), what, where=root, expected="a folder", kind=MissingFile)
    what, expected = "the folder cannot be read: {}", "a folder that may be read"
    with explained(what, (OSError, RecursionError), where=root, expected=expected):
        return Walk(str(root), wanted)


def why_left_out(root: Path, name: str) -> str | None:
    """Why a walk of `root` left out the name of a file that is there; None where it is not."""
    path = root / name
    if any(is_hidden(part) for part in Path(name).parts):
        return DUE if os.path.exists(path) else None
    for way in (path, *path.parents):
        if os.path.islink(way) and not os.path.exists(way):
            return f"'{way}' is a link that leads nowhere"
    return None


def real_folders(root: str | Path, names: Iterable[str]) -> dict[str, str]:
    """Real paths of the folders that names of a walk lie in, and what the names call them."""
    folders = {name.rpartition("/")[0] for name in names}
    return {os.path.realpath(os.path.join(root, folder)): folder for folder in sorted(folders)}


def names_of(path: Path, folders: Mapping[str, str]) -> list[str]:
    """What a walk may call a file, by whatever path it is reached; folders: `real_folders`."""
    ways = [os.path.split(way) for way in (path, os.path.realpath(path))]
    places = [(os.path.realpath(place), name) for place, name in ways]
    return [f"{folders[at]}/{name}".lstrip("/") for at, name in places if at in folders]


def _files_in(entry: os.DirEntry[str]) -> Iterator[str]:
    """Names of the files of a hidden entry; what cannot be read there is left out all the same."""
    if not entry.is_dir(follow_symlinks=False):
        yield entry.name
    else:
        yield from chain.from_iterable(names for _, _, names in os.walk(entry.path))
