"""The scheduler against the plain loop: the same logits, and what it read and encoded for them."""

from __future__ import annotations

import threading
from pathlib import Path

import numpy as np
import pytest
import torch

from ames_lite.datasets.ground_truth import read_ground_truth
from ames_lite.errors import BadInput, MissingFile
from ames_lite.evaluation.passes import move_to_end, pairs_to_score
from ames_lite.evaluation.protocols import Retrieval, get_protocol, setting_junk
from ames_lite.models import AMES, Chamfer
from ames_lite.reranking import batches, pair_scoring
from ames_lite.reranking.scorer import Cost, PairScorer, ScoringOptions
from ames_lite.stores.descriptor_store import DescriptorStore
from ames_lite.stores.merging import join_stores
from ames_lite.stores.neighbor_lists import read_neighbors
from ames_lite.stores.published.store import PublishedStore
from benchmarks.referees.dense import DenseAMES
from benchmarks.referees.plain import PlainLoop
from tests.conftest import TinyWorld
from tests.reranking.packing import pack_store, ragged_store
from tests.stores.published.forms import of_store, write_published

NUM = 12  # num_rerank
COUNTS = (20, 15)
Stores = tuple[DescriptorStore, DescriptorStore]


def native(world: TinyWorld, split: str) -> Path:
    return world.folder() / f"sift_{split}_local.hdf5"


def stores(kind: str, world: TinyWorld, folder: Path) -> Stores:
    """The tiny world's two stores in some form."""
    return tuple(store(kind, world, split, folder) for split in ("query", "gallery"))  # type: ignore[return-value]


def store(kind: str, world: TinyWorld, split: str, folder: Path) -> DescriptorStore:
    path, target = native(world, split), folder / f"{split}.hdf5"
    if kind == "fp":
        return DescriptorStore.open(path)
    if kind == "ragged":
        return ragged_store(path, target)
    if kind == "packed":
        return DescriptorStore.open(pack_store(path, target))
    plain = DescriptorStore.open(path)
    if kind.startswith("published"):
        form, chunks = ("records", 2) if "virtual" in kind else ("flat float32", 0)
        return PublishedStore(write_published(target, of_store(plain), form, chunks), plain.names)
    halves = [half_of(plain, folder / f"{split}{i}.hdf5", i) for i in range(2)]
    return DescriptorStore.open(join_stores(halves, target, linked=True))


def half_of(plain: DescriptorStore, path: Path, part: int) -> DescriptorStore:
    middle = len(plain) // 2
    rows = range(middle) if part == 0 else range(middle, len(plain))
    names = [plain.names[row] for row in rows]
    sizes = plain.max_count, plain.dim, "float16", plain.provenance
    with DescriptorStore.create(path, names, *sizes) as writer:
        for row in rows:
            writer.append(plain.names[row], plain.read(row))
    return DescriptorStore.open(path)


def a_head(dim_in: int = 128) -> AMES:
    torch.manual_seed(0)
    return AMES(dim_in=dim_in, dim=32, num_layers=2, dim_feedforward=32).eval()


class Passes:
    """Both passes of the tiny world, and the pairs that they need."""

    def __init__(self, world: TinyWorld) -> None:
        names = [DescriptorStore.open(native(world, s)).names for s in ("query", "gallery")]
        truth = read_ground_truth(world.folder() / "gnd_synthetic.json", *names)
        lists = read_neighbors(world.folder() / "nn_sift_vlad.hdf5", *names)
        protocol = get_protocol("revisitop")
        moved = [move_to_end(lists, setting_junk(truth, s)) for s in protocol.settings]
        self.ids = [one.ids[:, :NUM] for one in moved]
        self.pairs = pairs_to_score(Retrieval(protocol, truth, lists), NUM)


def difference(
    head: AMES, given: Stores, passes: Passes, options: ScoringOptions
) -> tuple[float, Cost, PlainLoop]:
    """The largest difference of a logit from the plain loop's."""
    dense = DenseAMES(head)
    loop = PlainLoop(lambda *sides: dense(*sides)[0], *given, *COUNTS, batch=5)
    expected = loop.run(passes.ids)
    scores, cost = PairScorer(head).score(*given, *passes.pairs, options)
    found = [scores.lookup(ids) for ids in passes.ids]
    biggest = max(np.abs(a - b).max() for a, b in zip(found, expected, strict=True))
    assert max(np.ptp(a) for a in expected) > 1e-3
    return float(biggest), cost, loop


KINDS = ["fp", "ragged", "packed", "published", "published virtual", "virtual"]


@pytest.mark.parametrize("kind", KINDS)
def test_logits_are_those_of_the_plain_loop(
    kind: str, tiny_world: TinyWorld, tmp_path: Path
) -> None:
    passes, given = Passes(tiny_world), stores(kind, tiny_world, tmp_path)
    options = ScoringOptions(*COUNTS, block_images=7, batch_tokens=150)
    biggest, cost, loop = difference(a_head(), given, passes, options)
    assert biggest < 1e-4
    assert cost.pairs == len(passes.pairs[0]) < sum(ids.size for ids in passes.ids)
    images = [len(np.unique(rows)) for rows in passes.pairs]
    assert [cost.encoded_queries, cost.encoded_gallery] == images
    assert cost.unique_images == sum(images)
    assert 0 < cost.bytes_read <= 1.05 * cost.unique_bytes < loop.bytes_read / 2


def test_reading_again_is_counted(tiny_world: TinyWorld) -> None:
    """The counter that CI holds does see a second reading."""
    given = stores("fp", tiny_world, Path())
    cost = Cost()
    batch = batches.Batches(torch.device("cpu"))
    encoder = pair_scoring.Encoder(a_head(), batch, pair_scoring.ReadMeter(cost, given))
    for _ in range(2):
        encoder.read(given[1], np.arange(5), 10)
    assert cost.bytes_read == 2 * cost.unique_bytes == 2 * 5 * 10 * 128 * 2
    assert cost.bytes_over_unique == 2


@pytest.mark.parametrize("room, gallery_encodes", [(10**9, 1), (0, 2)])
def test_queries_that_do_not_fit_come_in_groups(
    room: int,
    gallery_encodes: int,
    tiny_world: TinyWorld,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The same logits; gallery images are kept between groups as far as there is room."""
    given, passes, head = stores("fp", tiny_world, Path()), Passes(tiny_world), a_head()
    queries = np.unique(passes.pairs[0])
    each = 20 * 32 * 4 * 4 + 1000  # tokens and their three projections, and a little
    budget = batches.Budget(each * -(-len(queries) // 2), room, 1 << 20)
    monkeypatch.setattr(pair_scoring, "share_out", lambda *_: budget)
    options = ScoringOptions(*COUNTS, block_images=7)
    biggest, cost, _ = difference(head, given, passes, options)
    assert biggest < 1e-4
    assert cost.encoded_queries == len(queries)
    halves = np.array_split(queries, 2)
    wanted = [len(np.unique(passes.pairs[1][np.isin(passes.pairs[0], part)])) for part in halves]
    once = len(np.unique(passes.pairs[1]))
    assert cost.encoded_gallery == (once if gallery_encodes == 1 else sum(wanted))
    assert sum(wanted) > once


def test_sparse_pairs_of_many_queries_share_batches(
    tiny_world: TinyWorld, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As many forwards as tokens ask for, not one for every query and block."""
    given, passes, head = stores("ragged", tiny_world, tmp_path), Passes(tiny_world), a_head()
    calls: list[int] = []
    real = AMES.score

    def counting(self: AMES, query: object, gallery: object, *rest: bool) -> object:
        found = real(self, query, gallery, *rest)  # type: ignore[arg-type]
        calls.append(len(found))
        return found

    monkeypatch.setattr(AMES, "score", counting)
    PairScorer(head).score(*given, *passes.pairs, ScoringOptions(*COUNTS))
    assert sum(calls) == len(passes.pairs[0]) and len(calls) <= 3


def test_the_precision_is_that_of_the_head(tiny_world: TinyWorld) -> None:
    given, passes = stores("fp", tiny_world, Path()), Passes(tiny_world)
    found = {
        name: PairScorer(a_head()).score(*given, *passes.pairs, ScoringOptions(precision=name))[0]
        for name in ("fp32", "bf16")
    }
    error = np.abs(found["fp32"].logit - found["bf16"].logit).max()
    assert 0 < error < 2e-2
    with pytest.raises(BadInput, match="fp16.*CPU"):
        PairScorer(a_head()).score(*given, *passes.pairs, ScoringOptions(precision="fp16"))


@pytest.mark.slow
def test_a_compiled_head_gives_the_same_logits(
    tiny_world: TinyWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    given, passes, seen = stores("fp", tiny_world, Path()), Passes(tiny_world), []
    real = torch.compile

    def eager(function: object, **more: object) -> object:
        seen.append(more)
        return real(function, backend="eager", **more)  # type: ignore[call-overload]

    monkeypatch.setattr(torch, "compile", eager)
    torch._dynamo.reset()
    head = a_head()
    plain, _ = PairScorer(head).score(*given, *passes.pairs, ScoringOptions(*COUNTS))
    fast, _ = PairScorer(head).score(*given, *passes.pairs, ScoringOptions(*COUNTS, compile=True))
    assert seen == [{"dynamic": True}]
    assert np.abs(plain.logit - fast.logit).max() < 1e-5
    torch._dynamo.reset()


def test_threads_are_those_asked_for_and_afterwards_those_of_before(
    tiny_world: TinyWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    given, passes, seen = stores("fp", tiny_world, Path()), Passes(tiny_world), []
    real = Chamfer.score

    def looking(self: Chamfer, *sides: object) -> torch.Tensor:
        seen.append(torch.get_num_threads())
        return real(self, *sides)  # type: ignore[arg-type]

    monkeypatch.setattr(Chamfer, "score", looking)
    before = torch.get_num_threads()
    PairScorer(Chamfer()).score(*given, *passes.pairs, ScoringOptions(threads=before + 1))
    assert set(seen) == {before + 1} and torch.get_num_threads() == before


def test_too_little_memory_is_refused_before_anything_is_read(tiny_world: TinyWorld) -> None:
    given, passes = stores("fp", tiny_world, Path()), Passes(tiny_world)
    with pytest.raises(BadInput, match="(?s)max_memory=0.1 GiB.*expected.*at least"):
        PairScorer(a_head()).score(*given, *passes.pairs, ScoringOptions(max_memory=0.1))


def test_a_pair_that_is_given_twice_is_refused(tiny_world: TinyWorld) -> None:
    given = stores("fp", tiny_world, Path())
    rows = np.array([0, 1, 0])
    with pytest.raises(BadInput, match="query row 0 with gallery row 0 is given twice"):
        PairScorer(a_head()).score(*given, rows, rows)


def copied(world: TinyWorld, folder: Path) -> Stores:
    """Copies of both stores, to be harmed."""
    for split in ("query", "gallery"):
        (folder / f"{split}.hdf5").write_bytes(native(world, split).read_bytes())
    return tuple(DescriptorStore.open(folder / f"{s}.hdf5") for s in ("query", "gallery"))  # type: ignore[return-value]


@pytest.mark.parametrize("harm", ["truncated", "gone"])
def test_a_store_that_changes_while_it_is_read_ends_the_run(
    harm: str, tiny_world: TinyWorld, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """HDF5 alone would go on, with zeros."""
    given, passes = copied(tiny_world, tmp_path), Passes(tiny_world)
    real, path, calls = DescriptorStore.read_descriptors, given[1].path, []

    def harming(self: DescriptorStore, rows: np.ndarray, count: int) -> object:
        calls.append(self.path)
        if calls.count(path) == 3 and path.exists():
            if harm == "gone":
                path.unlink()
            else:
                with path.open("r+b") as file:
                    file.truncate(path.stat().st_size // 2)
        return real(self, rows, count)

    monkeypatch.setattr(DescriptorStore, "read_descriptors", harming)
    kind, words = (MissingFile, "has gone") if harm == "gone" else (BadInput, "bytes when it was")
    with pytest.raises(kind, match=words) as error:
        options = ScoringOptions(*COUNTS, block_images=3)
        PairScorer(a_head()).score(*given, *passes.pairs, options)
    assert str(path) in str(error.value) and "extract the descriptors" in str(error.value)
    assert not [t for t in threading.enumerate() if t.name.startswith("prefetch")]


def test_a_chunk_that_goes_while_it_is_read_ends_the_run(
    tiny_world: TinyWorld, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given, passes = stores("virtual", tiny_world, tmp_path), Passes(tiny_world)
    real = DescriptorStore.read_descriptors

    def harming(self: DescriptorStore, rows: np.ndarray, count: int) -> object:
        if self.path == given[1].path:
            (tmp_path / "gallery1.hdf5").unlink(missing_ok=True)
        return real(self, rows, count)

    monkeypatch.setattr(DescriptorStore, "read_descriptors", harming)
    with pytest.raises(MissingFile, match="(?s)has gone.*gallery1.hdf5"):
        PairScorer(a_head()).score(*given, *passes.pairs, ScoringOptions(*COUNTS, block_images=3))
