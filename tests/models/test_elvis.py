"""ELViS: the published numbers, the naive referee, its two ways with padding, bounded memory."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from ames_lite.errors import ConfigError
from ames_lite.io.checkpoint import load_head
from ames_lite.models import ELViS
from tests.helpers import shared_file
from tests.models.measure import LargestTensor
from tests.models.naive import Pair, naive_elvis
from tests.models.seeded import biggest_difference, descriptors, padding, seeded_elvis

QUERY, GALLERY = descriptors(5, 5, 12, 48), descriptors(6, 5, 8, 48)
PADDING = padding(12, 9, 1, 12, 5, total=12), padding(8, 8, 3, 1, 6, total=8)
PAIRS: dict[str, Pair] = {
    "padded": (QUERY, PADDING[0], GALLERY, PADDING[1]),
    "query padded": (QUERY, PADDING[0], GALLERY, None),
    "unpadded": (QUERY, None, GALLERY, None),
    "alike": (QUERY, None, QUERY + 0.3 * descriptors(7, 5, 12, 48), PADDING[0]),
}
both_forms = pytest.mark.parametrize("count_padding", [False, True])


def double(pair: Pair) -> Any:
    return tuple(x.double() if x is not None and x.is_floating_point() else x for x in pair)


def published() -> tuple[ELViS, list[dict[str, Any]]]:
    with np.load(shared_file("fixtures/elvis_fp.npz")) as file:
        meta = json.loads(bytes(file["meta"]))
        arrays = {name: torch.from_numpy(file[name]) for name in file.files if name != "meta"}
    head = ELViS(
        dim_in=meta["local_dim"],
        dim=meta["model_dim"],
        embed_dim=meta["embed_dim"],
        proj_dim=meta["proj_dim"],
        iterations=meta["sh_iter"],
        sharpness=meta["sh_temp"],
    )
    state = {k.removeprefix("state/"): v for k, v in arrays.items() if k.startswith("state/")}
    head.load_state_dict(state, strict=True)
    keys = ("src", "src_mask", "tgt", "tgt_mask", "sim", "train")
    cases = sum(name.endswith("/sim") for name in arrays)
    return head, [{k: arrays[f"case{i}/{k}"] for k in keys} for i in range(cases)]


@torch.no_grad()
def test_published_numbers_are_met() -> None:
    head, cases = published()
    assert {bool(case["train"]) for case in cases} == {False, True}
    assert any(case["src_mask"].any() for case in cases)
    for case in cases:
        head.train(bool(case["train"]))
        pair = (case["src"], case["src_mask"], case["tgt"], case["tgt_mask"])
        assert biggest_difference(head(*pair), case["sim"]) < 2e-5
        assert biggest_difference(naive_elvis(head.double(), double(pair)), case["sim"]) < 2e-5
        head.float()


@torch.no_grad()
def test_without_padding_both_forms_are_the_published_one() -> None:
    head, cases = published()
    for case in cases:
        head.train(bool(case["train"]))
        if not case["src_mask"].any() and not case["tgt_mask"].any():
            head.count_padding = False
            logits = head(case["src"], case["src_mask"], case["tgt"], case["tgt_mask"])
            assert biggest_difference(logits, case["sim"]) < 2e-5


# Recorded from this code when it met the published numbers; padding ignored, then counted.
RECORDED_EVAL = [2.47515, 1.18115, 1.10138, 0.68345, 1.69677]
RECORDED_EVAL += [2.47515, 1.23725, 1.09728, 0.68321, 1.69434]
RECORDED_TRAIN = [-3.19413, -1.75389, -1.69573, -1.46711, -2.22986]
RECORDED_TRAIN += [-3.19413, -1.79745, -1.69286, -1.46702, -2.22724]


@torch.no_grad()
def test_recorded_numbers_stay() -> None:
    query, gallery = descriptors(2, 5, 11, 48), descriptors(3, 5, 9, 48)
    gallery[:, :4] = query[:, 2:6] + 0.5 * descriptors(4, 5, 4, 48)  # some matches
    masks = padding(11, 10, 3, 1, 7, total=11), padding(9, 2, 9, 8, 5, total=9)
    for training, recorded in ((False, RECORDED_EVAL), (True, RECORDED_TRAIN)):
        numbers: list[float] = []
        for count_padding in (False, True):
            head = seeded_elvis(1, count_padding=count_padding).train(training)
            numbers += head(query, masks[0], gallery, masks[1]).tolist()
        assert numbers == pytest.approx(recorded, abs=5e-5)


@both_forms
@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("case", PAIRS)
@torch.no_grad()
def test_fast_form_equals_the_naive_one(case: str, training: bool, count_padding: bool) -> None:
    head = seeded_elvis(7, count_padding=count_padding).train(training)
    logits = head(*PAIRS[case])
    expected = naive_elvis(head.double(), double(PAIRS[case]))
    assert biggest_difference(logits, expected) < 5e-5
    assert biggest_difference(head(*double(PAIRS[case])), expected) < 1e-10


@both_forms
@pytest.mark.parametrize("case", PAIRS)
def test_gradients_equal_the_naive_ones(case: str, count_padding: bool) -> None:
    head = seeded_elvis(7, count_padding=count_padding).double().train()
    grads: list[list[Tensor]] = []
    for form in (lambda *pair: naive_elvis(head, pair), head):
        pair = double(PAIRS[case])
        pair[0].requires_grad_()
        head.zero_grad()
        torch.nn.functional.softplus(form(*pair)).sum().backward()
        assert all(p.grad is not None and p.grad.abs().max() > 0 for p in head.parameters())
        grads.append([pair[0].grad, *(p.grad.clone() for p in head.parameters())])
    for a, b in zip(*grads, strict=True):
        assert biggest_difference(a, b) < 1e-9 * max(1.0, a.abs().max().item())


@torch.no_grad()
@pytest.mark.parametrize("sharpness", [0.5, 40.0])
@pytest.mark.parametrize("corner", [-30.0, 30.0])
def test_extreme_affinities_stay_exact(sharpness: float, corner: float) -> None:
    head = seeded_elvis(7, sharpness=sharpness)
    head.dust_bin.fill_(corner / sharpness * 10)
    head.dust_bin_mlp[2].bias.fill_(-4.0)  # all dustbins nearly closed
    logits = head(*PAIRS["alike"])
    expected = naive_elvis(head.double(), double(PAIRS["alike"]))
    assert biggest_difference(logits, expected) < 1e-3


@torch.no_grad()
def test_an_empty_image_leaves_its_partner_to_votes_of_no_match() -> None:
    head, nothing = seeded_elvis(7, count_padding=False), torch.ones(5, 12, dtype=torch.bool)
    none = head.f(torch.zeros(1)).sigmoid()
    expected = (~PADDING[1]).sum(1) * none
    assert biggest_difference(head(QUERY, nothing, GALLERY, PADDING[1]), expected) < 1e-5
    assert biggest_difference(seeded_elvis(7)(QUERY, nothing, GALLERY, PADDING[1]), expected) < 1e-5
    both = head(QUERY, nothing, GALLERY, torch.ones(5, 8, dtype=torch.bool))
    assert torch.equal(both, torch.zeros(5))
    trained = head.train()(QUERY, nothing, GALLERY, PADDING[1])
    assert biggest_difference(trained, head.g(expected[:, None])[:, 0]) < 1e-4


def test_published_names_and_shapes_tell_the_architecture(tmp_path: Any) -> None:
    head = seeded_elvis(7, embed_dim=8, proj_dim=24)
    names = {name.split(".")[0] for name in head.state_dict()}
    assert names == {"remap_local", "f", "g", "dust_bin", "dust_bin_mlp"}
    torch.save({"state": head.state_dict(), "optim": {}, "epoch": 3}, tmp_path / "head.pt")
    again, _ = load_head(tmp_path / "head.pt")
    assert isinstance(again, ELViS) and again.arguments == head.arguments
    with torch.no_grad():
        assert torch.equal(again(*PAIRS["padded"]), head(*PAIRS["padded"]))
    number = sum(p.numel() for p in ELViS(dim_in=128).parameters())
    assert 33_000 < number < 35_000  # as published


@pytest.mark.parametrize("wrong", [{"sharpness": 0}, {"sharpness": 41.0}, {"iterations": 0}])
def test_impossible_arguments_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=next(iter(wrong))):
        ELViS(**wrong)


@torch.no_grad()
def test_memory_does_not_grow_with_the_number_of_pairs(monkeypatch: pytest.MonkeyPatch) -> None:
    head, num = seeded_elvis(7), 64
    monkeypatch.setattr("ames_lite.models.head.CPU_BLOCK_ENTRIES", 4 * num * num)
    query = head.encode(descriptors(1, 1, num, 48))
    for pairs in (8, 32):
        gallery = head.encode(descriptors(2, pairs, num, 48))
        with LargestTensor() as largest:
            head.score(query, gallery)
        assert largest.numel == 4 * num * num


def test_no_iteration_keeps_a_matrix_for_the_gradients() -> None:
    head, num = seeded_elvis(7).train(), 100
    kept: dict[int, int] = {}

    def note(tensor: Tensor) -> Tensor:
        kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes() // 4
        return tensor

    query, gallery = descriptors(1, 1, num, 48), descriptors(2, 1, num, 48)
    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        head(query, None, gallery).sum()
    matrices = [numel for numel in kept.values() if numel >= num * num]
    assert len(matrices) <= 6 < head.iterations
