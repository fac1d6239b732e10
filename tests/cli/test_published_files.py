"""Published files from end to end: checked, evaluated, trained on, as if they were native."""

from __future__ import annotations

import pickle
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from ames_lite.cli import evaluate, prepare_topk_global, train
from ames_lite.cli.compose import compose
from ames_lite.datasets.ground_truth import read_ground_truth
from ames_lite.datasets.image_lists import read_image_list
from ames_lite.errors import BadInput
from ames_lite.extraction.descriptors import BinaryCode
from ames_lite.stores.descriptor_store import DescriptorStore
from ames_lite.stores.neighbor_lists import read_neighbors
from ames_lite.stores.published.neighbors import open_planes
from tests.cli.test_commands import SMALL
from tests.conftest import TinyWorld
from tests.helpers import in_process, main_of
from tests.stores.published.forms import of_store, write_published

FLOATS = ("flat float16", "flat float32", "records", "records of one")
FLOOR = ["model=mutual_nn", "num_rerank=10", "lamb=0.5", "temp=0.1", "report_queries=0"]


@pytest.fixture
def published(tiny_world: TinyWorld, tmp_path: Path) -> Path:
    """The tiny world under the names of ROxford's published files, but for the stores."""
    source, folder = tiny_world.folder(), tmp_path / "data" / "roxford5k"
    folder.mkdir(parents=True)
    for split in ("query", "gallery"):
        shutil.copy(source / f"{split}.txt", folder / f"test_{split}.txt")
    queries, gallery = (
        read_image_list(source / f"{split}.txt").names for split in ("query", "gallery")
    )
    truth = read_ground_truth(source / "gnd_synthetic.json", queries, gallery)
    neighbors = read_neighbors(source / "nn_sift_vlad.hdf5", queries, gallery)
    planes = np.stack([neighbors.sims, neighbors.ids]).astype(np.float32)
    (folder / "nn_superglobal.pkl").write_bytes(pickle.dumps(torch.from_numpy(planes), 2))
    gnd = [
        {
            "bbx": list(truth.bbox[q] or (0.0, 0.0, 9.0, 9.0)),
            **{grade: getattr(truth, grade)[q].tolist() for grade in ("easy", "hard", "junk")},
        }
        for q in range(len(queries))
    ]
    names = {"imlist": gallery, "qimlist": queries}
    bare = {key: [name.rsplit(".", 1)[0] for name in value] for key, value in names.items()}
    (folder / "gnd_roxford5k.pkl").write_bytes(pickle.dumps({"gnd": gnd, **bare}, 2))
    return folder.parent


def write_stores(world: TinyWorld, root: Path, form: str, chunks: int = 0) -> None:
    for split in ("query", "gallery"):
        store = DescriptorStore.open(world.folder() / f"sift_{split}_local.hdf5")
        path = root / "roxford5k" / f"dinov2_{split}_local.hdf5"
        write_published(path, of_store(store), form, chunks)


@pytest.mark.parametrize("form", FLOATS)
@pytest.mark.parametrize("chunks", [0, 2])
def test_published_files_evaluate_like_the_native_ones(
    tiny_world: TinyWorld, published: Path, form: str, chunks: int, tmp_path: Path
) -> None:
    write_stores(tiny_world, published, form, chunks)
    given = ["dataset=roxford", "desc_name=dinov2", f"data_root={published}"]
    assert main_of("check_store")(given) == 0
    results = evaluate.run(compose("evaluate", [*given, *FLOOR, f"output_dir={tmp_path / 'a'}"]))
    native = ["dataset=synthetic", "desc_name=sift", f"data_root={tiny_world.root}"]
    wanted = evaluate.run(compose("evaluate", [*native, *FLOOR, f"output_dir={tmp_path / 'b'}"]))
    assert results["global"] == wanted["global"] and results["per_query"] == wanted["per_query"]
    assert results["rows"] == wanted["rows"]
    assert "published, unknown" in results["digests"]["query_store"]


def test_a_store_of_the_listed_images_alone_is_checked_and_read(
    tiny_world: TinyWorld, published: Path
) -> None:
    """The third plane of the lists says where an image is in such a store."""
    write_stores(tiny_world, published, "flat float16")
    folder = published / "roxford5k"
    path, lists = folder / "dinov2_gallery_local.hdf5", folder / "nn_superglobal.pkl"
    planes = torch.from_numpy(np.array(open_planes(lists).values))[..., :3]
    asked = np.unique(planes[1].numpy().astype(int))
    np.random.default_rng(0).shuffle(asked)
    whole = DescriptorStore.open(tiny_world.folder() / "sift_gallery_local.hdf5")
    assert len(asked) < len(whole)
    path.unlink()
    write_published(path, of_store(whole)[asked], "flat float16")
    given = ["dataset=roxford", "desc_name=dinov2", f"data_root={published}"]
    lists.write_bytes(pickle.dumps(planes.clone(), 2))
    assert main_of("check_store")(given) == 3  # a store of other images
    place = {image: row for row, image in enumerate(asked.tolist())}
    third = planes[1].clone().apply_(lambda image: place[int(image)])
    lists.write_bytes(pickle.dumps(torch.cat([planes, third[None]]), 2))
    assert main_of("check_store")(given) == 0


def pack(store: DescriptorStore, path: Path) -> DescriptorStore:
    """The same images with 64 bits, by a projection made up."""
    generator = torch.Generator().manual_seed(0)
    projection = torch.randn(store.dim, 64, generator=generator)
    code = BinaryCode(projection, path, {})
    made = {**store.provenance, **code.provenance}
    size = (store.max_count, code.bits, "uint8", made)
    with DescriptorStore.create(path, store.names, *size) as packed:
        for row, name in enumerate(store.names):
            packed.append(name, code.pack(store.read(row)))
    return DescriptorStore.open(path)


@pytest.mark.parametrize("form", ["packed records", "bits"])
def test_packed_published_files_evaluate_like_native_ones(
    tiny_world: TinyWorld, published: Path, form: str, tmp_path: Path
) -> None:
    for split in ("query", "gallery"):
        store = DescriptorStore.open(tiny_world.folder() / f"sift_{split}_local.hdf5")
        native = pack(store, published / "roxford5k" / f"mine_{split}_local.hdf5")
        path = published / "roxford5k" / f"dinov2_{split}_local.hdf5"
        write_published(path, of_store(native), form)
    rows = {}
    for name in ("mine", "dinov2"):
        given = ["dataset=roxford", f"desc_name={name}", f"data_root={published}", *FLOOR[1:]]
        given += ["model=chamfer", f"output_dir={tmp_path / name}"]
        assert main_of("check_store")(given[:3]) == 0
        rows[name] = evaluate.run(compose("evaluate", given))["rows"]
    if form == "packed records":  # bits alone have no mask
        assert rows["mine"] == rows["dinov2"]


def test_a_missing_chunk_stops_check_and_evaluation(
    tiny_world: TinyWorld, published: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_stores(tiny_world, published, "flat float16", chunks=2)
    chunk = published / "roxford5k" / "dinov2_gallery_local_xa1.hdf5"
    chunk.unlink()
    given = ["dataset=roxford", "desc_name=dinov2", f"data_root={published}"]
    with pytest.raises(BadInput, match=chunk.name):
        evaluate.run(compose("evaluate", [*given, *FLOOR, f"output_dir={tmp_path / 'a'}"]))
    assert main_of("check_store")(given) == 3
    said = capsys.readouterr().out
    assert chunk.name in said and "would be zeros" in said and "1 fault" in said


def test_published_and_native_sides_are_not_mixed(
    tiny_world: TinyWorld, published: Path, tmp_path: Path
) -> None:
    write_stores(tiny_world, published, "flat float16")
    target = published / "roxford5k" / "dinov2_query_local.hdf5"
    shutil.copy(tiny_world.folder() / "sift_query_local.hdf5", target)
    given = ["dataset=roxford", "desc_name=dinov2", f"data_root={published}", *FLOOR]
    with pytest.raises(BadInput, match="backbone is 'sift'.*'absent'"):
        evaluate.run(compose("evaluate", [*given, f"output_dir={tmp_path / 'a'}"]))


def test_two_forms_of_the_lists_ask_for_a_choice(
    tiny_world: TinyWorld, published: Path, tmp_path: Path
) -> None:
    write_stores(tiny_world, published, "records")
    folder = published / "roxford5k"
    shutil.copy(tiny_world.folder() / "nn_sift_vlad.hdf5", folder / "nn_dinov2_superglobal.hdf5")
    given = ["dataset=roxford", "desc_name=dinov2", f"data_root={published}", *FLOOR]
    with pytest.raises(BadInput, match="there twice") as error:
        evaluate.run(compose("evaluate", [*given, f"output_dir={tmp_path / 'a'}"]))
    assert "neighbors=" in str(error.value)
    chosen = f"neighbors={folder / 'nn_superglobal.pkl'}"
    assert evaluate.run(compose("evaluate", [*given, chosen, f"output_dir={tmp_path / 'b'}"]))


@pytest.mark.parametrize("form", ["flat float16", "records"])
def test_published_files_train_like_the_native_ones(
    tiny_world: TinyWorld, form: str, tmp_path: Path
) -> None:
    source, folder = tiny_world.folder("synthetic-train"), tmp_path / "data" / "gldv2"
    folder.mkdir(parents=True)
    shutil.copy(source / "train.txt", folder / "train_750k.txt")
    store = DescriptorStore.open(source / "sift_local.hdf5")
    write_published(folder / "dinov2_local.hdf5", of_store(store), form, chunks=2)
    lists = ["dataset=gldv2", "desc_name=dinov2", f"data_root={folder.parent}", "self_search=true"]
    given = f"lists={source / 'nn_sift_vlad.hdf5'}"
    prepare_topk_global.run(
        compose("prepare_topk_global", [*lists, "global=cls", "form=published", given])
    )
    (folder / "nn_dinov2_cls.pkl").rename(folder / "nn_dinov2.pkl")
    options = [*SMALL, "dataset=gldv2", "desc_name=dinov2", "neighbors=cls", "val_dataset=null"]
    options += [f"data_root={folder.parent}", f"output_dir={tmp_path / 'run'}"]
    run = train.run(compose("train", options))
    wanted = [*SMALL, f"data_root={tiny_world.root}", f"output_dir={tmp_path / 'native'}"]
    other = train.run(compose("train", wanted))
    from ames_lite.io.checkpoint import load_head

    ours, theirs = load_head(run)[0].state_dict(), load_head(other)[0].state_dict()
    assert all(torch.equal(ours[key], theirs[key]) for key in theirs)


def test_the_check_as_a_command(tiny_world: TinyWorld, tmp_path: Path) -> None:
    given = ["dataset=synthetic", "desc_name=sift", "neighbors=vlad"]
    done = in_process(tmp_path, "scripts/check_store.py", *given, f"data_root={tiny_world.root}")
    assert done.returncode == 0 and "no faults" in done.stdout, done.stderr
    path = tmp_path / "s.hdf5"
    shutil.copy(tiny_world.folder() / "sift_query_local.hdf5", path)
    done = in_process(tmp_path, "scripts/check_store.py", f"store={path}")
    assert done.returncode == 0, done.stdout + done.stderr
    path.write_bytes(path.read_bytes()[:-5000])
    done = in_process(tmp_path, "scripts/check_store.py", f"store={path}")
    assert done.returncode == 3 and "1 fault" in done.stdout and "Traceback" not in done.stderr
    done = in_process(tmp_path, "scripts/check_store.py", *given, f"data_root={tmp_path}")
    assert done.returncode == 1 and "missing" in done.stderr
