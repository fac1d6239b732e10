"""SuperGlobal from images to results: the headline command's remedies, followed as printed."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from ames_lite.cli import evaluate, extract_globals, prepare_topk_global
from ames_lite.cli.compose import compose
from ames_lite.datasets.ground_truth import write_ground_truth
from ames_lite.datasets.image_lists import ImageList, write_image_list
from ames_lite.errors import BadInput, ConfigError, MissingFile
from ames_lite.extraction.backbones.cvnet import CvnetNetwork, Shape
from ames_lite.io.images import save_jpeg
from ames_lite.records import GroundTruth, LocalDescriptors
from ames_lite.retrieval.expansion import Mda
from ames_lite.retrieval.knn import exact_knn
from ames_lite.stores import hdf5
from ames_lite.stores.descriptor_store import DescriptorStore
from ames_lite.stores.neighbor_lists import SCHEMA, read_neighbors
from tests.extraction.backbones.test_cvnet import filled
from tests.helpers import main_of
from tests.stores.files import read_globals, write_globals

QUERIES = tuple(f"jpg/q{i}.jpg" for i in range(2))
GALLERY = tuple(f"jpg/g{i}.jpg" for i in range(9))
COMMANDS = {
    "scripts/evaluate.py": main_of("evaluate"),
    "extract/prepare_topk_global.py": main_of("prepare_topk_global"),
    "extract/extract_globals.py": main_of("extract_globals"),
}
FLOOR = "model=mutual_nn lamb=0.5 temp=0.1 report_queries=0"
TINY = Shape((1, 1, 1, 1), 64, 2048)


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """CVNet's names with one block a stage."""
    path = tmp_path_factory.mktemp("cvnet") / "cvnet.pyth"
    shapes = {name: value.shape for name, value in CvnetNetwork(TINY).state_dict().items()}
    torch.save({"model_state": filled(shapes)}, path)
    return path


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A small roxford5k with images and dinov2's local descriptors."""
    folder, rng = tmp_path / "roxford5k", np.random.default_rng(0)
    (folder / "jpg").mkdir(parents=True)
    for name in (*QUERIES, *GALLERY):
        small = rng.integers(0, 255, (12, 12, 3)).astype(np.uint8)
        save_jpeg(folder / name, np.kron(small, np.ones((8, 8, 1), np.uint8)), 95)
    truth: dict[str, Any] = {
        grade: tuple(np.array(rows, np.int64) for rows in both)
        for grade, both in {"easy": ([0], [1]), "hard": ([2], [3]), "junk": ([4], [])}.items()
    }
    boxes = ((0.0, 0.0, 96.0, 94.0), None)
    write_ground_truth(
        folder / "gnd_roxford5k.json", GroundTruth(QUERIES, GALLERY, bbox=boxes, **truth)
    )
    for split, names in (("query", QUERIES), ("gallery", GALLERY)):
        write_image_list(folder / f"{split}.txt", ImageList(names))
        path = folder / f"dinov2_{split}_local.hdf5"
        with DescriptorStore.create(path, names, 4, 8, "float16", {"backbone": "x"}) as store:
            for name in names:
                rows = rng.standard_normal((4, 8)).astype(np.float16)
                xy, scale = np.zeros((4, 2), np.float32), np.zeros(4, np.uint8)
                store.append(
                    name, LocalDescriptors(rows, xy, scale, np.ones(4, np.float32), (96, 96))
                )
    return tmp_path


def extraction(root: Path, weights: Path, *more: str) -> list[str]:
    arguments = [f"backbone.arguments.weights={weights}", "backbone.arguments.depths=[1,1,1,1]"]
    return ["dataset=roxford", "global=superglobal", f"data_root={root}", *arguments, *more]


@pytest.mark.slow
def test_the_remedies_of_the_headline_command_lead_to_its_results(
    root: Path, weights: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ran: list[str] = []

    def follow(line: str) -> None:
        """Run a command; where it fails, what it names, as printed, and then it again."""
        assert len(ran) < 20, "the remedies lead into a circle"
        _, script, *words = shlex.split(line)
        ran.append(script)
        code = COMMANDS[script](words)
        remedies = re.findall(r"remedy: +(.*)", capsys.readouterr().err)
        assert bool(code) == bool(remedies)
        for remedy in remedies:
            if remedy.startswith("python "):
                follow(remedy)
            else:
                assert "github.com/sungonce/CVNet" in remedy
                key = re.search(r"(backbone\.arguments\.weights)=<", remedy)
                assert key is not None
                follow(f"{line} {key[1]}={weights} backbone.arguments.depths=[1,1,1,1]")
                return
        if remedies:
            follow(line)

    run = f"dataset=roxford num_rerank=1600 data_root={root} output_dir={root / 'run'} {FLOOR}"
    follow(f"python scripts/evaluate.py {run}")
    topk, extract = "extract/prepare_topk_global.py", "extract/extract_globals.py"
    head = "scripts/evaluate.py"
    assert ran == [head, topk, *[extract] * 4, topk, head]
    assert (root / "run" / "results.json").is_file()


def test_vectors_are_unit_and_lists_are_reranked_as_the_files_say(
    root: Path, weights: Path
) -> None:
    folder = root / "roxford5k"
    more = ["superglobal.relup=0.01", "backbone.arguments.scales=[1.0]"]
    extract_globals.run(compose("extract_globals", extraction(root, weights, *more)))
    vectors = [read_globals(folder / f"cvnet_{s}_superglobal.hdf5") for s in ("query", "gallery")]
    made = vectors[1][2]
    assert (made["relup"], made["rgem_power"], made["gem_power"], made["sgem"]) == (
        *(0.01, 2.5, 4.6),
        "max",
    )
    assert made["scales"] == [1.0] and made["global"] == "superglobal" and "top_k" not in made
    (_, query, _), (_, gallery, _) = vectors
    np.testing.assert_allclose(np.linalg.norm(gallery, axis=1), 1, atol=1e-6)
    settings = ["mda.num=6", "mda.neighbors=2", "mda.beta=0.5", "num_neighbors=5"]
    given = ["dataset=roxford", f"data_root={root}", "global=superglobal", "overwrite=true"]
    plain = exact_knn(query, gallery, 9)
    for sims in ("final", "first"):
        prepare_topk_global.run(
            compose("prepare_topk_global", [*given, *settings, f"mda.sims={sims}"])
        )
        found = read_neighbors(folder / "nn_superglobal.hdf5", QUERIES, GALLERY)
        expected = Mda(6, 2, 0.5, sims).rerank(query, gallery, plain)
        np.testing.assert_array_equal(found.ids, expected.ids[:, :5])  # cut after the reranking
        np.testing.assert_array_equal(found.sims, expected.sims[:, :5])
        said = hdf5.read_provenance(folder / "nn_superglobal.hdf5", SCHEMA)
        assert (said["rerank"], said["mda_num"], said["mda_neighbors"]) == ("mda", 6, 2)
        assert said["mda_beta"] == 0.5 and said["sims"].startswith(sims)
        assert said["relup"] == 0.01 and said["search"] == "exact inner product"
    prepare_topk_global.run(compose("prepare_topk_global", [*given, "rerank=none"]))
    found = read_neighbors(folder / "nn_superglobal.hdf5", QUERIES, GALLERY)
    np.testing.assert_array_equal(found.ids, plain.ids)
    assert "rerank" not in hdf5.read_provenance(folder / "nn_superglobal.hdf5", SCHEMA)


def test_missing_lists_name_those_that_are_there(root: Path) -> None:
    folder, rng = root / "roxford5k", np.random.default_rng(0)
    for kind in ("cls", "vlad"):
        for split, names in (("query", QUERIES), ("gallery", GALLERY)):
            vectors = rng.standard_normal((len(names), 8)).astype(np.float32)
            write_globals(folder / f"dinov2_{split}_{kind}.hdf5", names, vectors, {})
    where = ["dataset=roxford", f"data_root={root}"]
    prepare_topk_global.run(compose("prepare_topk_global", [*where, "global=vlad"]))
    with pytest.raises(MissingFile) as error:
        evaluate.run(compose("evaluate", [*where, *FLOOR.split()]))
    said = str(error.value)
    assert "neighbors=vlad, whose lists are there" in said and "neighbors=gem" not in said
    assert "neighbors=local" not in said
    made = re.search(r"neighbors=cls, whose descriptors are there: python \S+ (.*)", said)
    assert made is not None and main_of("prepare_topk_global")(shlex.split(made[1])) == 0
    for kind in ("cls", "vlad"):
        more = [f"neighbors={kind}", f"output_dir={root / kind}"]
        assert evaluate.run(compose("evaluate", [*where, *FLOOR.split(), *more]))["global"]


def test_a_small_image_fails_alone_and_is_named(
    root: Path, weights: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    save_jpeg(root / "roxford5k" / GALLERY[3], np.zeros((60, 96, 3), np.uint8), 95)
    words = extraction(root, weights, "splits=[gallery]", "backbone.arguments.scales=[1.0]")
    assert main_of("extract_globals")(words) == 1
    said = capsys.readouterr().err
    assert "1 of 9 images failed" in said and GALLERY[3] in said and "2×3 is too small" in said
    again = main_of("extract_globals")([*words, "overwrite=true", "on_bad_image=skip"])
    assert again == 0


@pytest.mark.parametrize(
    "words, error, what",
    [
        (["source=store"], ConfigError, "source=images"),
        (["backbone=dinov2"], ConfigError, "backbone=cvnet"),
        (["superglobal.relup=-1.0"], BadInput, "relup"),
        (["superglobal.gem_power=0.0"], BadInput, "gem_power"),
        (["superglobal.rgem_power=-2.0"], BadInput, "rgem_power"),
        (["superglobal.sgem=mean"], BadInput, "or max"),
        (["superglobal.sgem=0"], BadInput, "or max"),
        (["source=globals"], ConfigError, "nothing to do"),
        (["backbone.arguments.weights=absent.pyth"], MissingFile, "absent.pyth"),
    ],
)
def test_settings_that_cannot_be_are_refused(
    root: Path, words: list[str], error: type[Exception], what: str
) -> None:
    given = ["dataset=roxford", "global=superglobal", f"data_root={root}"]
    with pytest.raises(error, match=what):
        extract_globals.run(compose("extract_globals", [*given, *words]))
    assert not list(root.rglob("*superglobal*"))


@pytest.mark.parametrize(
    "words, error, what",
    [
        (["rerank=qe"], ConfigError, "published, mda, .*none"),
        (["mda.num=0"], BadInput, "num is 0"),
        (["mda.beta=-1"], BadInput, "beta"),
        (["mda.sims=both"], ConfigError, "final or first"),
        (["rerank=mda", "lists=nn.pkl"], ConfigError, "as they are"),
        ([], MissingFile, r"splits=\[query\](.|\n)*splits=\[gallery\]"),
    ],
)
def test_lists_that_cannot_be_are_refused(
    root: Path, words: list[str], error: type[Exception], what: str
) -> None:
    with pytest.raises(error, match=what):
        given = ["dataset=roxford", "global=superglobal", f"data_root={root}"]
        prepare_topk_global.run(compose("prepare_topk_global", [*given, *words]))


def test_another_desc_name_uses_the_same_files(root: Path, weights: Path) -> None:
    words = extraction(root, weights, "desc_name=dinov2", "backbone.arguments.scales=[1.0]")
    extract_globals.run(compose("extract_globals", words))
    given = ["dataset=roxford", f"data_root={root}", "global=superglobal"]
    for name, form in (("sift", "native"), ("cvnet", "published")):
        prepare_topk_global.run(
            compose("prepare_topk_global", [*given, f"desc_name={name}", f"form={form}"])
        )
    made = {path.name for path in root.rglob("*superglobal*")}
    assert made == {
        *(f"cvnet_{split}_superglobal.hdf5" for split in ("query", "gallery")),
        *("nn_superglobal.hdf5", "nn_superglobal.pkl"),
    }
    with pytest.raises(BadInput, match="there twice") as error:
        evaluate.run(compose("evaluate", ["dataset=roxford", f"data_root={root}", *FLOOR.split()]))
    choice = re.search(r"neighbors=(\S+)", str(error.value))
    assert choice is not None and Path(choice[1]).is_file()


def test_descriptors_pooled_otherwise_are_not_compared(root: Path, weights: Path) -> None:
    more = ["backbone.arguments.scales=[1.0]", "splits=[query]"]
    extract_globals.run(compose("extract_globals", extraction(root, weights, *more)))
    more = [more[0], "splits=[gallery]", "superglobal.relup=0.0"]
    extract_globals.run(compose("extract_globals", extraction(root, weights, *more)))
    given = ["dataset=roxford", f"data_root={root}", "global=superglobal"]
    with pytest.raises(BadInput, match="relup is 0.014"):
        prepare_topk_global.run(compose("prepare_topk_global", given))
    assert not (root / "roxford5k" / "nn_superglobal.hdf5").exists()
