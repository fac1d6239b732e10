"""torch.hub serves the heads from any directory, with nothing but torch, einops, safetensors."""

from __future__ import annotations

import hashlib
import importlib.metadata
import importlib.util
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import threading
import venv
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
import torch.nn.functional as F

import ames_lite.hub
from ames_lite.errors import BadInput, ConfigError, MissingFile
from ames_lite.io.checkpoint import HeadMeta, load_head, save_head
from ames_lite.models import HEADS, build_head
from ames_lite.models.published import PUBLISHED_HEADS
from tests.models.seeded import descriptors, seeded_head

ROOT = Path(__file__).resolve().parents[1]
NEEDED = ("torch", "einops", "safetensors")
WIDTHS = {
    "dinov2_ames": 768,
    "dinov2_ames_dist": 768,
    "cvnet_ames": 1024,
    "cvnet_ames_dist": 1024,
    "dinov2_elvis": 768,
    "dinov2_elvis_gld": 768,
    "dinov2_elvis_sop": 768,
    "dinov3_elvis_gld": 1024,
    "siglip2_elvis_gld": 1152,
    "sift_ames": 128,
    "sift_elvis": 128,
    "photo_elvis": 256,
    "photo_elvis_small": 256,
}
SHIPPED = ["sift_ames", "sift_elvis", "photo_elvis", "photo_elvis_small"]
PUBLISHED = [name for name in WIDTHS if name not in SHIPPED]

# Run with: repository, path of a native sift head, JSON list of the top-level modules to refuse.
IN_AN_EMPTY_ENVIRONMENT = f"""
import json, sys, warnings

repo, weights, refused = sys.argv[1], sys.argv[2], set(json.loads(sys.argv[3]))
before = set(sys.modules)

class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in refused:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)

sys.meta_path.insert(0, Refuse())
with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # torch itself warns where numpy is absent
    import torch

answer = {{"binary": []}}
for entry, dim_in in {WIDTHS}.items():
    model = torch.hub.load(repo, entry, source="local", pretrained=False).eval()
    q, t = torch.randn(2, 7, dim_in), torch.randn(2, 5, dim_in)
    logit = model(src_local=q, tgt_local=t)
    assert logit.shape == (2,) and logit.isfinite().all()
    halves = model.score(model.encode(q), model.encode(t, gallery=True))
    assert torch.equal(halves, logit), entry
    answer["binary"] += [entry] if model.arguments.get("binary") else []
own = torch.hub.load(repo, "sift_ames", source="local", weights=weights)
answer["layers"] = own.arguments["num_layers"]
answer["training"] = own.training
answer["modules"] = sorted(set(sys.modules) - before)
answer["from"] = sys.modules["ames_lite"].__file__
print(json.dumps(answer))
"""


def entry(name: str, **arguments: Any) -> Any:
    return torch.hub.load(str(ROOT), name, source="local", **arguments)


def canonical(distribution: str) -> str:
    return re.sub(r"[-_.]+", "-", distribution).lower()


def with_their_own_needs(names: tuple[str, ...]) -> set[str]:
    """The distributions of these names and all that they require."""
    found: set[str] = set()
    waiting = list(names)
    while waiting:
        name = canonical(waiting.pop())
        if name in found:
            continue
        try:
            requirements = importlib.metadata.requires(name) or []
        except importlib.metadata.PackageNotFoundError:  # for another platform
            continue
        found.add(name)
        needed = [text for text in requirements if "extra ==" not in text]
        waiting += [re.split(r"[^\w.-]", text, maxsplit=1)[0] for text in needed]
    return found


def third_party() -> tuple[set[str], set[str]]:
    """Top-level modules that an environment with the three would have, and those it would not."""
    allowed = with_their_own_needs(NEEDED)
    have, lack = set(), set()
    for module, distributions in importlib.metadata.packages_distributions().items():
        ours = {canonical(name) for name in distributions} & allowed
        (have if ours else lack).add(module)
    return have, lack - {"ames_lite"}  # the project's own may be installed


def check_answer(run: subprocess.CompletedProcess[str], repo: Path) -> set[str]:
    """What both kinds of empty environment must show; the modules that came to be imported."""
    assert run.returncode == 0, run.stderr
    assert run.stderr == ""
    answer = json.loads(run.stdout)
    assert answer["layers"] == 2 and not answer["training"]
    assert answer["binary"] == ["dinov2_ames_dist", "cvnet_ames_dist"]
    assert Path(answer["from"]).is_relative_to(repo)
    own = {name for name in answer["modules"] if name.split(".")[0] == "ames_lite"}
    rooms = {name for name in own if not name.startswith("ames_lite.models")}
    files = {"checkpoint", "digest", "json_file", "provenance", "untrusted"}
    files = {f"ames_lite.io.{name}" for name in files | {"shipped", "weights_file", "writing"}}
    assert rooms == {"ames_lite", "ames_lite.errors", "ames_lite.hub", "ames_lite.io", *files}
    return set(answer["modules"])


@pytest.fixture
def own_head(tmp_path: Path) -> Path:
    save_head(tmp_path / "head", seeded_head(dim_in=128, num_layers=2), HeadMeta("sift"))
    return tmp_path / "head"


def test_entries_load_quietly_elsewhere_and_without_the_other_libraries(
    own_head: Path, tmp_path: Path
) -> None:
    have, lack = third_party()
    assert {"numpy", "h5py", "hydra", "faiss", "cv2", "scipy", "PIL", "tqdm"} <= lack
    given = [str(ROOT), str(own_head), json.dumps(sorted(lack))]
    command = [sys.executable, "-c", IN_AN_EMPTY_ENVIRONMENT, *given]
    run = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, timeout=300)
    imported = {name.split(".")[0] for name in check_answer(run, ROOT)}
    assert set(NEEDED) <= imported
    assert imported & (have | lack) <= have


@pytest.mark.slow
def test_a_clone_works_in_a_new_environment_with_three_packages(
    own_head: Path, tmp_path: Path
) -> None:
    """Needs the network (or a cache) of pip, and some hundred MiB."""
    clone, environment = tmp_path / "clone", tmp_path / "venv"
    listed = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
    files = subprocess.run(listed, cwd=ROOT, capture_output=True, text=True)
    if files.returncode != 0:
        pytest.skip("this is not a git checkout")
    for name in filter(None, files.stdout.split("\0")):
        if (ROOT / name).is_file():  # not one that was deleted
            (clone / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, clone / name)
    lines = (ROOT / "requirements.txt").read_text(encoding="utf-8").splitlines()
    pins = [line for line in lines if line.split("==")[0] in NEEDED]
    assert len(pins) == 3
    venv.create(environment, with_pip=True)
    python = environment / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    clean = {name: text for name, text in os.environ.items() if name != "PYTHONPATH"}
    install = [str(python), "-m", "pip", "install", "--quiet", *pins]
    subprocess.run(install, check=True, env=clean, cwd=tmp_path)
    command = [str(python), "-c", IN_AN_EMPTY_ENVIRONMENT, str(clone), str(own_head), "[]"]
    run = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, env=clean)
    imported = {name.split(".")[0] for name in check_answer(run, clone)}
    assert not imported & {"numpy", "h5py", "hydra", "faiss", "cv2", "scipy", "PIL", "tqdm"}


def test_constructor_arguments_pass_through_and_wrong_ones_do_not() -> None:
    model = entry("dinov2_ames", pretrained=False, num_layers=2, round_gallery_fp16=False)
    assert model.arguments["num_layers"] == 2 and not model.arguments["round_gallery_fp16"]
    assert entry("dinov2_elvis", pretrained=False, dim_in=64).arguments["dim_in"] == 64
    for name in ("dinov2_ames", "dinov2_elvis"):
        with pytest.raises(ConfigError, match="(?s)no argument 'num_layer'.*dim_in"):
            entry(name, pretrained=False, num_layer=2)


def publish(path: Path, head: torch.nn.Module) -> Path:
    """A checkpoint in the published form."""
    torch.save({"state": head.state_dict(), "optim": {"lr": 1}, "epoch": 10}, path)
    return path


@pytest.mark.parametrize("name", ["dinov2_ames", "dinov2_ames_dist"])
def test_shapes_of_a_published_file_give_the_arguments(name: str, tmp_path: Path) -> None:
    binary = name.endswith("dist")
    sizes = {"dim": 64, "num_layers": 3, "dim_feedforward": 40, "pre_norm": True}
    head = seeded_head(dim_in=768, binary=binary, **sizes)
    model = entry(name, weights=publish(tmp_path / "any.pt", head))
    assert not model.training
    assert model.arguments == {**head.arguments, "num_heads": 2}
    x = descriptors(1, 2, 5, 768)
    assert torch.equal(model(x, tgt_local=x), head(x, tgt_local=x))


def test_elvis_loads_from_a_published_and_from_a_native_file(tmp_path: Path) -> None:
    torch.manual_seed(3)
    head = build_head("elvis", dim_in=768).eval()
    save_head(tmp_path / "native", head, HeadMeta("dinov2"))
    x = descriptors(1, 2, 5, 768)
    for weights in (publish(tmp_path / "any.pt", head), tmp_path / "native"):
        model = entry("dinov2_elvis", weights=weights)
        assert type(model) is HEADS["elvis"] and not model.training
        assert torch.equal(model(x, tgt_local=x), head(x, tgt_local=x))


def test_weights_of_the_wrong_kind_or_place_are_named(tmp_path: Path) -> None:
    save_head(tmp_path, seeded_head(dim_in=128), HeadMeta("sift"))
    with pytest.raises(BadInput, match=r"mismatched: remap_local.0.weight \[128, 128\]"):
        entry("dinov2_ames", weights=tmp_path)
    with pytest.raises(MissingFile, match="nowhere.pt"):
        entry("dinov2_ames", weights=tmp_path / "nowhere.pt")
    save_head(tmp_path / "wide", seeded_head(dim_in=768), HeadMeta())
    with pytest.raises(BadInput, match="(?s)weights are of AMES.*wide.*ELViS.*dinov2_elvis"):
        entry("dinov2_elvis", weights=tmp_path / "wide")
    fp = publish(tmp_path / "fp.pt", seeded_head(dim_in=768))
    with pytest.raises(BadInput, match="(?s)missing: .*remap_local.0.W.*fp.pt"):
        entry("dinov2_ames_dist", weights=fp)


def test_weights_with_another_sha256_than_given_are_refused(tmp_path: Path) -> None:
    path = publish(tmp_path / "any.pt", seeded_head(dim_in=768))
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    assert entry("dinov2_ames", weights=path, sha256=digest.upper())
    with pytest.raises(BadInput, match=f"(?s)sha256 {digest}.*any.pt.*{'0' * 64}"):
        entry("dinov2_ames", weights=path, sha256="0" * 64)
    with pytest.raises(MissingFile, match="(?s)to check by sha256"):
        entry("dinov2_ames", weights=tmp_path, sha256=digest)
    with pytest.raises(ConfigError, match="64 hex digits"):
        entry("dinov2_ames", weights=path, sha256=digest[:8])


@pytest.mark.parametrize("name", PUBLISHED_HEADS)
def test_published_heads_bring_their_ensemble(name: str, hub: ModuleType, tmp_path: Path) -> None:
    form = PUBLISHED_HEADS[name]
    head = seeded_head(dim_in=form.dim_in, binary=form.binary, num_layers=1)
    said = str(getattr(hub, name).__doc__)  # as torch.hub.help shows it
    for value in (form.lamb, form.temp):
        assert f"{value:.2f}" in said
    for file in (f"{name}.pt", "renamed.pt"):
        path = publish(tmp_path / file, head)
        assert entry(name, weights=path).ensemble == (form.lamb, form.temp)
        known = (form.lamb, form.temp) if file.startswith(name) else (None, None)
        meta = load_head(path)[1]
        assert (meta.lamb, meta.temp) == known
    save_head(tmp_path / "own", head, HeadMeta())
    assert entry(name, weights=tmp_path / "own").ensemble is None
    assert entry(name, pretrained=False).ensemble is None
    other = "cvnet_ames.pt" if form.dim_in == 768 else "dinov2_ames.pt"
    assert load_head(publish(tmp_path / other, head))[1] == HeadMeta()  # of another form


@pytest.mark.parametrize("name", SHIPPED)
def test_weights_that_are_shipped_need_no_download(name: str) -> None:
    folder = ROOT / "weights" / name
    model, (wanted, meta) = entry(name), load_head(folder)
    assert not model.training and type(model) is type(wanted)
    assert meta.lamb is not None and model.ensemble == (meta.lamb, meta.temp)
    x = F.normalize(descriptors(1, 2, 5, WIDTHS[name]), dim=-1)
    assert torch.equal(model(x, tgt_local=x), wanted(x, tgt_local=x))
    assert (folder / "weights.safetensors").stat().st_size < 5 * 2**20


def test_a_copy_without_the_shipped_weights_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ames_lite.hub, "shipped", lambda name: tmp_path / name)
    with pytest.raises(MissingFile, match="(?s)no head sift_elvis.*weights=<folder>.*pretrained"):
        entry("sift_elvis")


TWO_CHECKOUTS = """
import inspect, sys, torch
first, second, again = sys.argv[1:]
if first == "installed":
    import ames_lite.models
else:
    torch.hub.load(first, "sift_elvis", source="local", pretrained=False)
    head = torch.hub.load(again, "sift_elvis", source="local", pretrained=False)
    print(inspect.getfile(type(head)))
torch.hub.load(second, "sift_elvis", source="local", pretrained=False)
"""


@pytest.mark.parametrize("first", [pytest.param("A", marks=pytest.mark.slow), "installed"])
def test_a_second_checkout_in_one_process_is_refused(tmp_path: Path, first: str) -> None:
    skip = shutil.ignore_patterns("__pycache__", "cli", "synthetic", "evaluation")
    for name in ("A", "B", "site"):
        shutil.copytree(ROOT / "ames_lite", tmp_path / name / "ames_lite", ignore=skip)
        shutil.copyfile(ROOT / "hubconf.py", tmp_path / name / "hubconf.py")
    link = tmp_path / "the same"
    link.symlink_to(tmp_path / "A")
    given = [first if first == "installed" else str(tmp_path / first), str(tmp_path / "B")]
    done = subprocess.run(
        [sys.executable, "-c", TWO_CHECKOUTS, *given, str(link)],
        env={**os.environ, "PYTHONPATH": str(tmp_path / "site")},
        capture_output=True,
        text=True,
        cwd=tmp_path,
    )
    loaded = tmp_path / ("site" if first == "installed" else first)
    if first != "installed":
        assert done.stdout.strip() == str(loaded / "ames_lite" / "models" / "elvis.py")
    assert done.returncode == 1 and "another ames_lite is loaded already" in done.stderr
    for part in (loaded / "ames_lite", tmp_path / "B" / "ames_lite", "in a new process"):
        assert str(part) in done.stderr


class Server:
    """Serves bytes on 127.0.0.1: what `files` has, all of it or, for `cut`, half of it."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.cut: set[str] = set()
        self.silent: set[str] = set()
        self.asked: list[str] = []
        self.closing = threading.Event()
        server = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                server.asked.append(self.path)
                body = server.files.get(self.path)
                if body is None:
                    self.send_error(404)
                    return
                self.send_response(200)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                broken = self.path in server.cut | server.silent
                self.wfile.write(body[: len(body) // 2] if broken else body)
                if self.path in server.silent:
                    server.closing.wait(30)

            def log_message(self, *arguments: Any) -> None:
                pass

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.http.daemon_threads = True
        self.address = f"http://127.0.0.1:{self.http.server_address[1]}"
        self.thread = threading.Thread(target=self.http.serve_forever, daemon=True)
        self.thread.start()

    def close(self) -> None:
        self.closing.set()
        self.http.shutdown()
        self.http.server_close()
        self.thread.join()


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    running = Server()
    yield running
    running.close()


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """hubconf.py as torch.hub imports it: anew, and in no list of modules; an empty cache."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "cache"))
    spec = importlib.util.spec_from_file_location("hubconf", ROOT / "hubconf.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.setattr(ames_lite.hub, "ENTRIES", dict(ames_lite.hub.ENTRIES))
    return module


def at(name: str, address: str) -> None:
    """The published weights of an entry are at another address."""
    entries = ames_lite.hub.ENTRIES
    entries[name] = entries[name]._replace(address=address)


def addresses() -> dict[str, str]:
    """Of the published weights."""
    entries = ames_lite.hub.ENTRIES.items()
    return {name: entry.address for name, entry in entries if entry.address is not None}


def cached() -> Path:
    return Path(torch.hub.get_dir()) / "checkpoints"


def published(server: Server, hub: ModuleType, tmp_path: Path) -> tuple[Any, bytes]:
    """A small dinov2_ames on the server; the head and the bytes of its file."""
    head = seeded_head(dim_in=768, num_layers=2)
    content = publish(tmp_path / "original.pt", head).read_bytes()
    server.files["/dinov2_ames.pt"] = content
    at("dinov2_ames", f"{server.address}/dinov2_ames.pt")
    return head, content


def test_the_entries_are_those_of_the_list_and_explain_themselves(hub: ModuleType) -> None:
    public = [name for name in dir(hub) if callable(getattr(hub, name)) and name[0] != "_"]
    assert public == sorted(WIDTHS)  # as torch.hub.list finds them
    for name, dim_in in WIDTHS.items():
        assert f"[B, N, {dim_in}]" in getattr(hub, name).__doc__  # as torch.hub.help shows it


def test_published_addresses_are_those_of_the_authors_and_pin_nothing(hub: ModuleType) -> None:
    base = "http://ptak.felk.cvut.cz/personal/sumapave/public"
    assert sorted(addresses()) == sorted(PUBLISHED)
    for name, address in addresses().items():
        folder = "elvis" if "elvis" in name else "ames"
        file = f"{name}_gld" if name == "dinov2_elvis" else name
        assert address == f"{base}/{folder}/networks/{file}.pt"


@pytest.mark.parametrize("name", PUBLISHED)
def test_without_trust_nothing_is_downloaded(
    name: str, hub: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*arguments: Any, **named: Any) -> None:
        raise AssertionError("a download was started")

    monkeypatch.setattr(torch.hub, "download_url_to_file", refuse)
    file = re.escape(addresses()[name])
    message = f"(?s){file}.*plain http.*checkpoints.*trust=True.*sha256=.*weights=<path>"
    with pytest.raises(ConfigError, match=message):
        getattr(hub, name)()
    assert not cached().exists()


def test_trusted_weights_are_fetched_once_and_their_digest_shown(
    server: Server, hub: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    head, content = published(server, hub, tmp_path)
    path = cached() / "dinov2_ames.pt"
    line = f"{path}: sha256 {hashlib.sha256(content).hexdigest()}\n"
    x = descriptors(1, 1, 5, 768)
    model = hub.dinov2_ames(trust=True, progress=False)
    assert torch.equal(model(x, tgt_local=x), head(x, tgt_local=x)) and not model.training
    assert capsys.readouterr() == ("", line)
    assert [file.name for file in cached().iterdir()] == ["dinov2_ames.pt"]
    assert path.read_bytes() == content
    server.close()  # from here on there is no network
    again = hub.dinov2_ames(trust=True)
    assert torch.equal(again(x, tgt_local=x), model(x, tgt_local=x))
    assert capsys.readouterr() == ("", line)
    assert server.asked == ["/dinov2_ames.pt"]
    with pytest.raises(ConfigError, match="trust=True"):
        hub.dinov2_ames()  # what lies there is no more known than before


def test_progress_is_shown_on_standard_error(
    server: Server, hub: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _, content = published(server, hub, tmp_path)
    hub.dinov2_ames(trust=True)
    out, err = capsys.readouterr()
    assert out == "" and "100%" in err


def test_a_known_digest_replaces_trust_and_another_file_is_refused(
    server: Server, hub: ModuleType, tmp_path: Path
) -> None:
    _, content = published(server, hub, tmp_path)
    digest = hashlib.sha256(content).hexdigest()
    address = re.escape(addresses()["dinov2_ames"])
    with pytest.raises(BadInput, match=f"(?s)what came from {address}.*{digest}.*{'f' * 64}"):
        hub.dinov2_ames(sha256="f" * 64, progress=False)
    assert not list(cached().iterdir())
    assert hub.dinov2_ames(sha256=digest, progress=False)
    with pytest.raises(BadInput, match=f"(?s){digest}.*dinov2_ames.pt.*{'f' * 64}"):
        hub.dinov2_ames(sha256="f" * 64, trust=True)
    (cached() / "dinov2_ames.pt").write_bytes(content[:-1])
    with pytest.raises(BadInput, match=f"(?s)dinov2_ames.pt.*sha256 {digest}"):
        hub.dinov2_ames(sha256=digest)


@pytest.mark.parametrize("how", ["cut", "silent"])
def test_an_interrupted_download_leaves_nothing_behind(
    how: str, server: Server, hub: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    published(server, hub, tmp_path)
    monkeypatch.setattr(ames_lite.hub, "TIMEOUT", 0.5)
    getattr(server, how).add("/dinov2_ames.pt")
    message = {"cut": "broke off|IncompleteRead", "silent": "timed out"}[how]
    with pytest.raises(MissingFile, match=f"(?s)dinov2_ames.pt could not be.*({message}).*weights"):
        hub.dinov2_ames(trust=True, progress=False)
    assert not list(cached().iterdir())
    getattr(server, how).clear()
    assert hub.dinov2_ames(trust=True, progress=False)


def test_stopping_a_download_by_hand_leaves_nothing_behind(
    server: Server, hub: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    published(server, hub, tmp_path)

    def stop(bar: Any, size: int) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(torch.hub.tqdm, "update", stop)
    with pytest.raises(KeyboardInterrupt):
        hub.dinov2_ames(trust=True)
    assert not list(cached().iterdir())


def test_an_address_without_the_file_is_named(server: Server, hub: ModuleType) -> None:
    address = f"{server.address}/cvnet_ames.pt"
    at("cvnet_ames", address)
    with pytest.raises(MissingFile) as caught:
        hub.cvnet_ames(trust=True)
    text = str(caught.value)
    assert "404" in text and address in text and str(cached()) in text and "weights=" in text
    assert not list(cached().iterdir())


def test_no_network_gives_one_short_message(
    hub: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with socket.socket() as free:  # a port that nobody listens on
        free.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{free.getsockname()[1]}/dinov2_elvis.pt"
        at("dinov2_elvis", address)
        with pytest.raises(MissingFile) as caught:
            hub.dinov2_elvis(trust=True)
    text = str(caught.value)
    assert len(text.splitlines()) <= 4 and "refused" in text
    assert address in text and str(cached() / "dinov2_elvis.pt") in text and "weights=" in text


def test_a_cache_that_cannot_be_written_is_named(
    server: Server, hub: ModuleType, tmp_path: Path
) -> None:
    published(server, hub, tmp_path)
    (tmp_path / "cache").write_text("a file where the folder should be")
    with pytest.raises(MissingFile, match=f"(?s)could not be fetched.*{tmp_path}.*weights=<path>"):
        hub.dinov2_ames(trust=True)


class Code:
    """Unpickling it would write a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return Path.write_text, (self.path, "ran")


def test_what_is_no_checkpoint_is_refused_and_runs_no_code(
    server: Server, hub: ModuleType, tmp_path: Path
) -> None:
    published(server, hub, tmp_path)
    torch.save({"state": Code(tmp_path / "ran")}, tmp_path / "code.pt")
    for content in (b"<html>please log in</html>", (tmp_path / "code.pt").read_bytes()):
        server.files["/dinov2_ames.pt"] = content
        with pytest.raises(BadInput, match="(?s)read as weights alone.*checkpoints.*delete it"):
            hub.dinov2_ames(trust=True, progress=False)
        (cached() / "dinov2_ames.pt").unlink()
    assert not (tmp_path / "ran").exists()
