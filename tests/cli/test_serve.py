"""The command: what is wrong is said before any work, and what it serves."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from ames_lite.cli import searching, serve
from ames_lite.cli.compose import compose
from ames_lite.errors import BadInput, ConfigError, MissingFile, UserError
from tests.search.photos import save_photos

ROOT = Path(__file__).parents[2]
SMALL = ["backbone=sift", "workers=1", "device=cpu", "port=0", "precision=fp32"]
SMALL += ["backbone.arguments.top_k=60", "backbone.arguments.image_size=200"]


def test_without_the_extra_the_remedy_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(searching, "find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"fastapi(.|\n)*pip install 'ames_lite\[serve\]'"):
        serve.run(compose("serve", SMALL))


@pytest.mark.parametrize(
    ("more", "kind", "said"),
    [
        ("port=70000", ConfigError, "port=70000"),
        ("token=''", ConfigError, "the token is empty"),
        ("timeout=0", ConfigError, "timeout=0"),
        ("roots=[/no/such]", BadInput, "a folder of roots= is missing(.|\n)*/no/such"),
        ("images=/no/such", MissingFile, "the folder of images is missing"),
        ("model=mutual_nn", ConfigError, "model=mutual_nn is no head(.|\n)*model=elvis"),
        ("host=no.such.host", BadInput, "of no.such.host"),
    ],
)
def test_mistakes_are_said(more: str, kind: type[UserError], said: str) -> None:
    pytest.importorskip("fastapi")
    with pytest.raises(kind, match=said):
        serve.run(compose("serve", [*SMALL, more]))


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="there is no SIGTERM")
def test_the_command_answers_what_is_open_when_it_is_told_to_end(tmp_path: Path) -> None:
    httpx = pytest.importorskip("httpx")
    photos = save_photos(tmp_path / "photos")
    words = [f"images={photos}", f"data_root={tmp_path}/root", f"roots=[{photos}]", *SMALL]
    command = [sys.executable, str(ROOT / "scripts" / "serve.py"), *words]
    started = {"stdout": subprocess.PIPE, "text": True, "cwd": tmp_path}
    environment = {**os.environ, "AMES_TOKEN": "secret"}
    with subprocess.Popen(command, env=environment, **started) as process:  # type: ignore[call-overload]
        try:
            address = next(line.split()[2] for line in process.stdout if " at http" in line)[:-1]
            headers = {"authorization": "Bearer secret"}
            with httpx.Client(base_url=address, headers=headers, trust_env=False) as client:
                found = client.post("/search", json={"query": "b_1.jpg", "top_n": 2}).json()
                names = sorted(path.name for path in photos.iterdir())
                body = {"query": names[0], "documents": names[1:]}
                with ThreadPoolExecutor(1) as pool:
                    work = pool.submit(client.post, "/rerank", json=body, timeout=60)
                    while "ames_open_requests 1.0" not in client.get("/metrics").text:
                        assert not work.done()
                    process.send_signal(signal.SIGTERM)
                    assert len(work.result().json()["results"]) == len(names) - 1
        finally:
            process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0
    assert {one["image"] for one in found["results"]} < set(names) - {"b_1.jpg"}
