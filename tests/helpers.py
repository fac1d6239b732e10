"""What several test files share."""

import io
import json
import os
import runpy
import subprocess
from collections.abc import Callable, Iterable, Sequence
from contextlib import chdir, redirect_stderr, redirect_stdout
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from ames_lite.cli import run
from ames_lite.runtime import peak_memory_mib

ROOT = Path(__file__).resolve().parents[1]

SHARED = ROOT.parent / "shared"


def shared_file(relative: str) -> Path:
    """The path of a file in ../shared, or a skip that says what is absent."""
    path = SHARED / relative
    if not path.exists():
        pytest.skip(f"needs ../shared/{relative}, which is not beside this checkout")
    return path


def touch(folder: Path, names: Iterable[str]) -> Path:
    """Empty files below a folder, which is returned."""
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return folder


def copy_small(image: Path, target: Path) -> None:
    """An image at 160 pixels, of which few descriptors are made soon."""
    target.parent.mkdir(parents=True, exist_ok=True)
    with Image.open(image) as opened:
        opened.thumbnail((160, 160))
        opened.save(target)


def main_of(name: str) -> Callable[[Sequence[str]], int]:
    """The command of that name, as a shell runs it."""
    return partial(run, name)


def in_process(cwd: Path, script: str, *words: str) -> subprocess.CompletedProcess[str]:
    """Run `python script words` in cwd without a process of its own: seconds of imports less."""
    out, err = io.StringIO(), io.StringIO()
    path = str(ROOT / script)
    with pytest.MonkeyPatch.context() as patch, chdir(cwd):
        patch.setattr("sys.argv", [path, *words])
        with redirect_stdout(out), redirect_stderr(err), pytest.raises(SystemExit) as ended:
            runpy.run_path(path, run_name="__main__")
    code = ended.value.code
    assert isinstance(code, int)
    return subprocess.CompletedProcess([path, *words], code, out.getvalue(), err.getvalue())


def forked(work: Callable[[], object]) -> int:
    """Exit code of a copy of this process that does the work; -9 where it killed itself.

    It takes milliseconds where a new process imports for seconds. Not for more than one thread:
    those of this process are missing in the copy.
    """
    child = os.fork()
    if child == 0:
        try:
            torch.set_num_threads(1)
            work()
        finally:
            os._exit(1)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def peak_here(job: str, **arguments: Any) -> float:
    """As `own_process.peak_of`, in this process: what it did before counts too."""
    module, _, function = job.partition(":")
    getattr(import_module(module), function)(**json.loads(json.dumps(arguments)))()
    return peak_memory_mib()
