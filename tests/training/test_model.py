"""What a part of a batch costs: parts add up to the whole, a teacher's tokens are compared."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from ames_lite.errors import BadInput
from ames_lite.models import AMES, ELViS
from ames_lite.training.dataset import Side, TripletBatch
from ames_lite.training.model import TripletModel, check_teacher, pair_loss, token_distance
from ames_lite.training.recipe import Recipe

B, K, D = 6, 9, 16


def head(seed: int = 0, **given: object) -> AMES:
    torch.manual_seed(seed)
    return AMES(**{"dim_in": D, "dim": 8, "num_layers": 2, "dim_feedforward": 8, **given})  # type: ignore[arg-type]


def batch(padding: bool = False, seed: int = 1) -> TripletBatch:
    generator = torch.Generator().manual_seed(seed)

    def side() -> Side:
        valid = None
        if padding:
            valid = torch.arange(K) < torch.randint(1, K + 1, (B, 1), generator=generator)
        return Side(torch.randn(B, K, D, generator=generator).half(), valid)

    return TripletBatch(side(), side(), side())


def rows(given: TripletBatch, at: slice) -> TripletBatch:
    return TripletBatch(
        *(Side(s.descriptors[at], None if s.valid is None else s.valid[at]) for s in given)
    )


def gradients(model: TripletModel, parts: list[tuple[TripletBatch, float]]) -> dict[str, Tensor]:
    model.zero_grad()
    for part, share in parts:
        (model(part, (5, 7)).loss * share).backward()
    return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


def elvis(seed: int = 3) -> ELViS:
    torch.manual_seed(seed)
    return ELViS(dim_in=D, dim=8, count_padding=False).eval().requires_grad_(False)


REAL = Recipe(distill_padding=False)
PROBABILITIES = Recipe(beta=0.0, soft_targets=0.6)
MODELS = {
    "alone": lambda: TripletModel(head().train()),
    "tokens": lambda: TripletModel(head().train(), head(5).eval()),
    "probabilities": lambda: TripletModel(head().train(), elvis(), PROBABILITIES),
    "both": lambda: TripletModel(
        head().train(), head(5).eval(), Recipe(beta=3.0, soft_targets=0.6)
    ),
    "real tokens": lambda: TripletModel(head().train(), head(5).eval(), REAL),
}


@pytest.mark.parametrize("padding", [False, True])
@pytest.mark.parametrize("taught", list(MODELS))
def test_the_gradient_of_parts_is_that_of_the_whole(padding: bool, taught: str) -> None:
    model = MODELS[taught]()
    given = batch(padding)
    if taught == "alone":
        given = given.strongest(5, 7)
    whole = gradients(model, [(given, 1.0)])
    parts = [(rows(given, slice(0, 1)), 1 / 6), (rows(given, slice(1, 6)), 5 / 6)]
    for name, values in gradients(model, parts).items():
        assert torch.allclose(values, whole[name], atol=2e-6), name


def test_the_distance_is_that_of_the_published_positions() -> None:
    """Student tokens [0 : 1+q] and [1+q :], teacher's [0 : 1+q] and [1+K : 1+K+t]."""
    student, teacher, given = head().train(), head(5).eval(), batch()
    q, t = 5, 7
    seen = given.strongest(q, t)
    expected, logits = [], []
    for side, all_of in ((1, given.positive), (2, given.negative)):
        own, own_tokens = student(
            seen.query.descriptors, None, seen[side].descriptors, None, return_tokens=True
        )
        _, goal = teacher(given.query.descriptors, None, all_of.descriptors, None, True)
        kept = torch.cat([goal[:, : 1 + q], goal[:, 1 + K : 1 + K + t]], dim=1)
        expected.append(torch.nn.functional.mse_loss(own_tokens, kept))
        logits.append(own)
    result = TripletModel(student, teacher)(given, (q, t))
    distance = (expected[0] + expected[1]) / 2
    assert result.distance == pytest.approx(distance.item(), rel=1e-5)
    assert result.loss.item() == pytest.approx(
        (pair_loss(*logits) + 10 * distance).item(), rel=1e-5
    )


def test_the_published_distance_counts_the_tokens_of_padding() -> None:
    """The mean squared error of all tokens, padding or not."""
    student, teacher, given = head().train(), head(5).eval(), batch(padding=True)
    expected = []
    for side in given[1:]:
        pair = (given.query, side)
        masked = [x for s in pair for x in (s.descriptors, ~s.valid)]  # type: ignore[operator]
        tokens, goal = (model(*masked, return_tokens=True)[1] for model in (student, teacher))
        expected.append(torch.nn.functional.mse_loss(tokens, goal).item())
    result = TripletModel(student, teacher)(given, (K, K))
    assert result.distance == pytest.approx(sum(expected) / 2, rel=1e-5)
    left_out = TripletModel(student, teacher, REAL)(given, (K, K))
    assert left_out.distance != pytest.approx(result.distance, rel=1e-3)


def test_padding_can_be_left_out_of_the_distance() -> None:
    student, teacher, given = head().train(), head(5).eval(), batch(padding=True)
    model = TripletModel(student, teacher, REAL)
    first = model(given, (5, 7))
    noisy = TripletBatch(
        *(
            Side(torch.where(s.valid[..., None], s.descriptors, 3.0), s.valid)  # type: ignore[index]
            for s in given
        )
    )
    second = model(noisy, (5, 7))
    assert first.distance == pytest.approx(second.distance, rel=1e-5)
    assert first.loss.item() == pytest.approx(second.loss.item(), rel=1e-5)
    query = Side(torch.zeros(2, 2, 1), torch.tensor([[True, False], [True, True]]))
    gallery = Side(torch.zeros(2, 1, 1), None)
    tokens, taught = torch.zeros(2, 4, 3), torch.ones(2, 6, 3)
    taught[0, 2] = 100.0  # the padding
    found = token_distance(tokens, taught, query, gallery, all_queries=3, padding=False)
    assert found.item() == 1.0


def test_a_teacher_is_no_part_of_what_is_trained() -> None:
    teacher = head(5).eval()
    model = TripletModel(head().train(), teacher)
    model(batch(), (5, 7)).loss.backward()
    assert all(p.grad is None for p in teacher.parameters())
    model.train()
    assert not teacher.training
    assert len(list(model.parameters())) == len(list(teacher.parameters()))


def test_a_teacher_of_its_own_weights_is_at_no_distance() -> None:
    student = head().train()
    twin = head().eval()
    twin.round_gallery_fp16 = False
    assert TripletModel(student, twin)(batch(), (K, K)).distance == pytest.approx(0, abs=1e-10)


def test_a_binary_student_learns_from_an_fp_teacher() -> None:
    model = TripletModel(head(binary=True, binary_sigma=0.01).train(), head(5).eval())
    model(batch(), (5, 7)).loss.backward()
    weight = model.head.remap_local[0].W.grad  # type: ignore[union-attr, index]
    assert isinstance(weight, Tensor) and weight.abs().max() > 0


@pytest.mark.parametrize(
    "teacher, message",
    [
        (lambda: head(dim_in=12), "descriptors of width 12, the head of width 16"),
        (lambda: head(dim=16), "tokens of width 16, the head of width 8"),
        (lambda: ELViS(dim_in=D), "ELViS cannot teach"),
    ],
)
def test_a_teacher_of_another_width_is_refused(teacher: object, message: str) -> None:
    with pytest.raises(BadInput, match=message):
        check_teacher(teacher(), head())  # type: ignore[operator]


def test_a_teacher_of_probabilities_has_to_know_the_descriptors_alone() -> None:
    for known in (head(dim=16), elvis()):
        check_teacher(known, head(), PROBABILITIES)
        check_teacher(known, elvis(), PROBABILITIES)
    with pytest.raises(BadInput, match="descriptors of width 12"):
        check_teacher(ELViS(dim_in=12), head(), PROBABILITIES)
    with pytest.raises(BadInput, match="would learn nothing"):
        check_teacher(head(5), head(), Recipe(beta=0.0))


@pytest.mark.parametrize("taught", ["probabilities", "both"])
def test_soft_targets_are_the_cross_entropy_by_hand(taught: str) -> None:
    """Of a pair: -(t log p + (1 - t) log(1 - p)), t = 0.4 of the label and 0.6 of the teacher."""
    model, given, counts = MODELS[taught](), batch(padding=True), (5, 7)
    teacher = elvis().train() if taught == "probabilities" else head(5).eval()
    pairs = []
    for side, label in ((1, 1.0), (2, 0.0)):
        goal = teacher(
            *(given.query.descriptors, ~given.query.valid),  # type: ignore[operator]
            *(given[side].descriptors, ~given[side].valid),  # type: ignore[operator]
        )
        seen = given.strongest(*counts)
        logits = model.head(
            *(seen.query.descriptors, ~seen.query.valid),  # type: ignore[operator]
            *(seen[side].descriptors, ~seen[side].valid),  # type: ignore[operator]
        )
        target = 0.4 * label + 0.6 * goal.double().sigmoid()
        chance = logits.double().sigmoid()
        pairs.append(-(target * chance.log() + (1 - target) * (1 - chance).log()))
    result = model(given, counts)
    expected = torch.cat(pairs).mean() + model.recipe.beta * (result.distance or 0.0)
    assert result.loss.item() == pytest.approx(expected.item(), rel=1e-5)
    assert (result.distance is None) == (taught == "probabilities")


def test_nothing_is_left_to_learn_from_a_twin() -> None:
    student, twin = head().train(), head().eval().requires_grad_(False)
    twin.round_gallery_fp16 = False
    model = TripletModel(student, twin, Recipe(beta=0.0, soft_targets=1.0))
    model(batch(), (K, K)).loss.backward()
    grown = max(p.grad.abs().max().item() for p in student.parameters() if p.grad is not None)
    other = TripletModel(student, head(5).eval(), model.recipe)
    other(batch(), (K, K)).loss.backward()
    assert grown < 1e-6
    assert max(p.grad.abs().max().item() for p in student.parameters() if p.grad is not None) > 0.01


def test_a_teacher_of_probabilities_sees_the_batch_as_it_was_read() -> None:
    """One of tokens sees what the head sees: its tokens are of that."""
    read, turned, counts = batch(), batch(seed=2), (5, 7)
    for name, as_read in (("probabilities", True), ("both", False)):
        model = MODELS[name]()
        found = model(turned, counts, read).loss
        assert (found != model(turned, counts).loss) == as_read
    model, student = MODELS["probabilities"](), head().train()
    goals = [elvis().train()(read.query.descriptors, None, s.descriptors) for s in read[1:]]
    seen = turned.strongest(*counts)
    own = [student(seen.query.descriptors, None, s.descriptors) for s in seen[1:]]
    expected = pair_loss(own[0], own[1], (goals[0], goals[1]), 0.6)
    assert model(turned, counts, read).loss.item() == pytest.approx(expected.item(), rel=1e-5)


def test_elvis_learns_from_triplets() -> None:
    torch.manual_seed(0)
    model = TripletModel(ELViS(dim_in=D, dim=8).train())
    model(batch(), (K, K)).loss.backward()
    assert all(p.grad is not None for p in model.parameters())
