"""What a stage's files say, whether each is whole, and how a stage fares under one fault."""

from __future__ import annotations

import errno
import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import h5py
import numpy as np
import torch
import yaml
from PIL import Image

from ames_lite.errors import UserError
from ames_lite.io.checkpoint import load_head
from ames_lite.io.json_file import read_json_file
from ames_lite.io.weights_file import load_weights
from ames_lite.search.index import OpenIndex
from tests.faults.injection import KILL, LIMIT, ONCE, Done, Server
from tests.faults.stages import Stage

DISK = ("ENOSPC", "EIO", "EROFS", "EACCES", "EFBIG")
OF_TIME = (
    "second",
    "cost",
    "time",
    "memory",
    "created",
    "scanned",
    "sha256",
    "triplets_per",
    "wait",
)
UNREAD = (".log", ".lock", ".so")  # nothing is made of them
Snapshot = dict[str, object]


class Outcome(NamedTuple):
    """Of one trial; at: calls of its runs; wrong: what is not as it must be, empty where all is."""

    stage: str
    fault: str
    at: tuple[int, ...]
    wrong: str


class Trials:
    """A stage under faults. world: what it is given; base: where each trial runs."""

    def __init__(self, server: Server, name: str, stage: Stage, world: Path, base: Path) -> None:
        self.server, self.name, self.stage, self.world, self.base = server, name, stage, world, base
        stage.prepare(world, base)
        self.given = snapshot(base) if stage.replaces else {}
        self.unbroken = self._run_whole(between=False)
        self.calls = self.unbroken.calls
        self.files = snapshot(base)
        if stage.between is not None:
            self._run_whole(between=True)
        self.wanted = snapshot(base)

    def _run_whole(self, between: bool) -> Done:
        self.stage.prepare(self.world, self.base)
        if between and self.stage.between is not None:
            self.stage.between(self.base)
        done = self._command()
        assert done.code == 0, f"{self.name} without a fault: {done.err}"
        return done

    def _command(self, at: int = 0, how: str = KILL) -> Done:
        return self.server.run(
            self.stage.command(self.base), self.base, at, how, few=self.stage.few
        )

    def try_one(self, fault: str, *at: int) -> Outcome:
        """The command under a fault at a call; again at each further one of `at`; then unbroken."""
        self.stage.prepare(self.world, self.base)
        wrong: list[str] = []
        for number, call in enumerate(at):
            done = self._command(call, fault)
            if number == 0 or done.code != 0:  # a second run may need fewer calls
                wrong += self._faults_of(done, fault)
            half = half_written(self.base, self.files, self.given)
            wrong += [f"half written: {name}" for name in half]
            if done.code == 0:
                break
        wanted = self.files
        if done.code != 0:
            if self.stage.between is not None:
                self.stage.between(self.base)
            wanted, done = self.wanted, self._command()
        if done.code != 0:
            wrong.append(f"again: exit code {done.code}: {_short(done.err)}")
        else:
            wrong += [f"differs: {name}" for name in differing(wanted, snapshot(self.base))]
        return Outcome(self.name, fault, at, "; ".join(wrong))

    def _faults_of(self, done: Done, fault: str) -> Iterator[str]:
        """What is wrong with how the command ended."""
        if done.left:
            yield f"{done.left} processes are left"
        if fault == KILL:
            if done.code != -9:
                yield f"exit code {done.code} where it was to be killed"
            return
        if done.code == 0:  # the call did not matter: what the outputs are is looked at
            return
        if done.code != 1:
            yield f"exit code {done.code}"
        if "Traceback" in done.err or "Logging error" in done.err:
            yield f"a traceback: {_short(done.err)}"
            return
        number = errno.EFBIG if fault == LIMIT else getattr(errno, fault.removesuffix(ONCE))
        messages = sum(line.startswith("error: ") for line in done.err.splitlines())
        if messages != 1:
            yield f"{messages} messages: {_short(done.err)}"
        if os.strerror(number) not in done.err:
            yield f"does not say '{os.strerror(number)}': {_short(done.err)}"
        if str(self.base) not in done.err:
            yield f"names no file: {_short(done.err)}"
        if ("free space" in done.err) != (number == errno.ENOSPC):
            yield f"another remedy: {_short(done.err)}"


def _short(text: str) -> str:
    """The first error of it and its end."""
    found = text[max(0, text.find("error: ")) :].strip()
    return found if len(found) < 500 else f"{found[:200]} … {found[-300:]}"


def files_of(base: Path) -> Iterator[tuple[str, Path]]:
    for path in sorted(base.rglob("*")):
        name = str(path.relative_to(base))
        hidden = any(part.startswith(".") for part in Path(name).parts)
        if path.is_file() and not hidden and ".partial" not in name and path.suffix not in UNREAD:
            yield name, path


def differing(wanted: Snapshot, found: Snapshot) -> list[str]:
    names = wanted.keys() | found.keys()
    return sorted(name for name in names if wanted.get(name) != found.get(name))


def snapshot(base: Path) -> Snapshot:
    """What every file says, but for times."""
    found: Snapshot = {}
    for name, path in files_of(base):
        if name.startswith("index/"):
            continue
        try:
            found[name] = content(path)
        except Exception as error:  # noqa: BLE001  # whatever its reader raises
            found[name] = f"cannot be read: {error}"
    if (base / "index").is_dir():
        try:
            found["index"] = of_index(base / "index")
        except UserError as error:
            found["index"] = str(error)
    return found


def of_index(folder: Path) -> dict[str, object]:
    """Of every image by name its descriptors; whether it has a vector of unit length."""
    found: dict[str, object] = {}
    with OpenIndex(folder) as opened:
        for vectors, ids in opened.vectors():
            for vector, n in zip(vectors, ids.tolist(), strict=True):
                store, row = opened.store(int(opened.segment[n])), int(opened.row[n])
                assert store.names[row] == opened.names[n]
                length = float(np.linalg.norm(vector.astype(np.float32)))
                assert abs(length - 1) < 1e-2
                found[opened.names[n]] = digest(store.read(row).descriptors.tobytes())
        assert len(found) == len(opened)
    return found


def digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def content(path: Path) -> object:
    """What a file says; raises where it is not whole."""
    kind, data = path.suffix, path.read_bytes()
    if kind == ".hdf5":
        return of_hdf5(path)
    if kind == ".json":
        found = read_json_file(path, "JSON")
        if path.name == "frontier.json":  # of a machine
            return [row["metrics"] for row in found["rows"]]
        return timeless(found)
    if kind == ".jsonl":
        return [timeless(json.loads(line)) for line in data.decode().splitlines()]
    if kind == ".pt":
        return _tensors(load_weights(path, "a checkpoint"))
    if kind == ".safetensors":
        load_head(path.parent)
        return digest(data)
    if kind == ".npz":
        with np.load(path) as file:
            return {name: digest(file[name].tobytes()) for name in file.files}
    if kind == ".png":
        with Image.open(path) as image:
            image.load()
        return "an image"
    if kind == ".html":
        assert data.rstrip().endswith(b"</html>")
        return "a page"
    if kind == ".yaml":
        return yaml.safe_load(data)
    if kind in (".csv", ".md"):
        assert data.endswith(b"\n")
        return len(data.splitlines())
    return digest(data)


def of_hdf5(path: Path) -> object:
    """Its data sets; of one that readers refuse as unfinished, that alone."""
    with h5py.File(path) as file:
        if not file.attrs["complete"]:
            return "unfinished"
        return {name: digest(file[name][:].tobytes()) for name in file}


def timeless(value: Any) -> Any:
    if isinstance(value, dict):
        kept = {k: v for k, v in value.items() if not any(part in k for part in OF_TIME)}
        return {key: timeless(one) for key, one in kept.items()}
    return [timeless(one) for one in value] if isinstance(value, list) else value


def _tensors(value: Any) -> Any:
    if isinstance(value, torch.Tensor):
        return digest(value.detach().cpu().contiguous().numpy().tobytes())
    if isinstance(value, Mapping):
        rest = {k: v for k, v in value.items() if k not in ("log_bytes", "curve")}
        return {str(key): _tensors(one) for key, one in rest.items()}
    return [_tensors(one) for one in value] if isinstance(value, list | tuple) else repr(value)


def half_written(base: Path, whole: Snapshot, given: Snapshot) -> Iterator[str]:
    """Files under their final names that are neither whole, nor as given to a stage that replaces
    them, nor refused as unfinished.
    """
    for name, path in files_of(base):
        if path.name == "log.jsonl":  # grows line by line; a resumed run cuts it
            continue
        try:
            found = content(path)
        except Exception as error:  # noqa: BLE001
            yield f"{name} ({type(error).__name__}: {str(error)[:80]})"
            continue
        if path.suffix in (".hdf5", ".txt", ".npz", ".csv", ".md") and name in whole:
            if found not in (whole[name], given.get(name, whole[name]), "unfinished"):
                yield name
