"""The head gives the numbers of the published code, and keeps giving the same."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from ames_lite.models import AMES
from benchmarks.referees.dense import DenseAMES
from tests.helpers import shared_file
from tests.models.seeded import FORMS, biggest_difference, descriptors, padding, seeded_head

TOLERANCE = 1e-4


def published(path: Path) -> tuple[AMES, list[dict[str, Tensor]]]:
    """The head with the published parameters, and the cases of the file."""
    with np.load(path) as file:
        meta = json.loads(bytes(file["meta"]))
        arrays = {name: torch.from_numpy(file[name]) for name in file.files if name != "meta"}
    head = AMES(
        dim_in=meta["local_dim"],
        dim=meta["model_dim"],
        num_heads=meta["nhead"],
        num_layers=meta["num_encoder_layers"],
        dim_feedforward=meta["dim_feedforward"],
        binary=meta["binarized"],
        pre_norm=meta["normalize_before"],
    )
    state = {k.removeprefix("state/"): v for k, v in arrays.items() if k.startswith("state/")}
    head.load_state_dict(state, strict=True)
    keys = ("src", "src_mask", "tgt", "tgt_mask", "sim", "tokens")
    cases = sum(name.endswith("/sim") for name in arrays)
    return head.eval(), [{k: arrays[f"case{i}/{k}"] for k in keys} for i in range(cases)]


@pytest.mark.parametrize("name", ["ames_fp", "ames_fp_prenorm", "ames_binary_eval"])
@torch.no_grad()
def test_published_numbers_are_met(name: str) -> None:
    head, cases = published(shared_file(f"fixtures/{name}.npz"))
    assert cases
    for case in cases:
        pair = (case["src"], case["src_mask"], case["tgt"], case["tgt_mask"])
        logits, tokens = head(*pair, return_tokens=True)
        assert biggest_difference(head(*pair), case["sim"]) < TOLERANCE
        assert biggest_difference(logits, case["sim"]) < TOLERANCE
        assert biggest_difference(tokens, case["tokens"]) < TOLERANCE


@pytest.mark.parametrize("name", ["ames_fp", "ames_fp_prenorm", "ames_binary_eval"])
@torch.no_grad()
def test_the_referee_itself_gives_the_published_numbers(name: str) -> None:
    head, cases = published(shared_file(f"fixtures/{name}.npz"))
    referee = DenseAMES(head)
    for case in cases:
        logits, tokens = referee(case["src"], case["src_mask"], case["tgt"], case["tgt_mask"])
        assert biggest_difference(logits, case["sim"]) < 1e-5
        assert biggest_difference(tokens, case["tokens"]) < 1e-5


# Recorded from this code when it met the published numbers.
RECORDED = {
    "fp": [
        0.365543,
        0.345268,
        0.381482,
        0.510072,
        0.820627,
        0.610409,
        0.049516,
        0.059959,
        0.042255,
    ],
    "prenorm": [0.03564, 0.682867, 0.034684, 0.785921, -0.138411, 0.475715]
    + [0.484641, 0.129655, 0.569479],
    "binary": [2.830856, 2.710564, 2.796053, 2.531809, 2.453836, 3.583527]
    + [-0.009005, 0.010501, -0.040781],
}


@pytest.mark.parametrize("form", FORMS)
@torch.no_grad()
def test_recorded_numbers_stay(form: str) -> None:
    head = seeded_head(1, **FORMS[form])
    query, gallery = descriptors(2, 6, 11, 48), descriptors(3, 6, 9, 48)
    masks = padding(11, 10, 7, 3, 1, 11, total=11), padding(9, 2, 9, 8, 9, 1, total=9)
    logits, tokens = head(query, masks[0], gallery, masks[1], return_tokens=True)
    numbers = torch.cat([logits, tokens[2, ::7, 5]])
    assert numbers.tolist() == pytest.approx(RECORDED[form], abs=5e-5)
