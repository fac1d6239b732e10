"""The command: what is wrong is said before any work, and what it serves."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any
from urllib.request import ProxyHandler, build_opener

import pytest

from ames_lite.cli import app, searching
from ames_lite.cli.compose import compose
from ames_lite.errors import BadInput, ConfigError, MissingFile, UserError
from tests.search.photos import save_photos

ROOT = Path(__file__).parents[2]
SMALL = ["backbone=sift", "model=mutual_nn", "workers=1", "device=cpu"]
SMALL += ["backbone.arguments.top_k=60", "backbone.arguments.image_size=200"]


def config(images: Path, root: Path, *more: str) -> Any:
    return compose("app", [f"images={images}", f"data_root={root}", *SMALL, *more])


def test_without_gradio_the_remedy_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(searching, "find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"gradio(.|\n)*pip install 'ames_lite\[app\]'"):
        app.run(config(tmp_path, tmp_path))


@pytest.mark.parametrize(
    ("more", "kind", "said"),
    [
        ("images=gone", MissingFile, "the folder of images is missing"),
        ("images=empty", BadInput, "there are no images in the folder"),
        ("images=broken", BadInput, "the index has no image that could be described"),
        ("images=broken on_bad_image=error", BadInput, "1 images cannot be described"),
        ("images=empty port=70000", ConfigError, "port=70000"),
        ("images=empty threshold=.nan", UserError, "threshold"),
    ],
)
def test_mistakes_are_said(more: str, kind: type[UserError], said: str, tmp_path: Path) -> None:
    pytest.importorskip("gradio")
    for name in ("empty", "broken"):
        (tmp_path / name).mkdir()
    (tmp_path / "broken" / "a.jpg").write_text("no image")
    words = more.replace("images=", f"images={tmp_path}/").split()
    with pytest.raises(kind, match=said):
        app.run(compose("app", [f"data_root={tmp_path}/root", "port=0", *SMALL, *words]))


def test_a_port_that_is_taken_is_said_before_the_work(tmp_path: Path) -> None:
    pytest.importorskip("gradio")
    photos = save_photos(tmp_path / "photos")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(BadInput, match=f"port {port}"):
            app.run(config(photos, tmp_path / "root", f"port={port}"))
    assert not (tmp_path / "root").exists()


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="Ctrl-C is sent otherwise there")
def test_the_command_serves_until_it_is_interrupted(tmp_path: Path) -> None:
    pytest.importorskip("gradio")
    photos = save_photos(tmp_path / "photos")
    words = [f"images={photos}", f"data_root={tmp_path}/root", "port=0", *SMALL]
    command = [sys.executable, str(ROOT / "scripts" / "app.py"), *words]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=tmp_path) as process:
        assert process.stdout is not None
        try:
            address = next(line.split()[1] for line in process.stdout if line.startswith("open "))
            page = build_opener(ProxyHandler({})).open(address, timeout=60).read().decode()
        finally:
            process.send_signal(signal.SIGINT)
        assert process.wait(60) == 0
    assert address.startswith("http://127.0.0.1:") and "Search in photos" in page
