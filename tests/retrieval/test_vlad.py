"""The laws of VLAD: the sum over loops, no order, no batch, a unit vector for every image."""

import itertools

import numpy as np
import pytest
import torch

from ames_lite.errors import BadInput
from ames_lite.retrieval.vlad import (
    VladForm,
    _hard,
    _lengths,
    similarities,
    unit_rows,
    vlad_images,
)
from tests.helpers import shared_file
from tests.retrieval.vlad_referee import published_loop, referee, similarity, vlad

C, D = 5, 12
RECORDED = [
    -0.0485966, 0.0490311, -0.1472470, 0.2049156, 0.1760449,
    0.1632196, 0.1253791, -0.0525196, -0.2229477, 0.2789370,
    0.1681340, -0.0430308, 0.0000000, 0.0000000, 0.0000000,
    0.0000000, -0.1788914, 0.0577732, 0.3210160, -0.1060573,
]  # fmt: skip
RECORDED_ANYLOC = [
    -0.0340607, 0.0010651, -0.2160955, 0.2256478, 0.3075647,
    0.1016207, -0.0577306, -0.1640225, -0.1738719, 0.2307258,
    0.2393623, -0.1132074, 0.0577125, -0.1482504, -0.1664288,
    0.0258255, -0.2419247, 0.1267182, 0.1869356, -0.0980929,
]  # fmt: skip
RECORDED_SOFT = [
    0.0050847, 0.1055105, -0.0393160, -0.0683652, -0.0135794,
    0.0971303, -0.0501740, -0.0424980, 0.0206373, 0.0871162,
    -0.0724533, -0.0513250, -0.0038746, 0.1118431, -0.0449461,
    -0.0628865, 0.0237360, 0.0822192, -0.0616759, -0.0515242,
]  # fmt: skip
ANYLOC = {"distance": "cosine", "unit": True}
FORMS = [
    {"distance": distance, "soft": soft, "unit": unit, "temperature": temperature}
    for distance, soft, unit in itertools.product(
        ("euclidean", "cosine"), (None, "standard", "anyloc"), (False, True)
    )
    for temperature in ((1.0,) if soft is None else (1.0, 7.5))
]


def assign(given: np.ndarray, centers: np.ndarray, distance: str) -> np.ndarray:
    values, rows = (torch.from_numpy(x).double() for x in (given, centers))
    return similarities(values, rows, distance).argmax(dim=0).numpy()


def centroids() -> np.ndarray:
    return np.random.default_rng(0).standard_normal((C, D)).astype(np.float32)


def tokens(seed: int, count: int) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((count, D)).astype(np.float32)


def name_of(form: dict) -> str:
    return "-".join(map(str, form.values()))


@pytest.mark.parametrize("form", FORMS, ids=name_of)
@pytest.mark.parametrize("count", [1, 2, 40])
@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_vlad_equals_a_loop_over_descriptors(count: int, dtype: str, form: dict) -> None:
    given = tokens(1, count).astype(dtype)
    found = vlad(given, centroids(), **form)
    assert found.shape == (C * D,) and found.dtype == np.float32
    np.testing.assert_allclose(found, referee(given, centroids(), **form), atol=1e-7)


def test_the_defaults_are_hard_and_euclidean() -> None:
    given = tokens(1, 40)
    plain = {"distance": "euclidean", "soft": None, "temperature": 3.0, "unit": False}
    assert vlad(given, centroids()).tobytes() == vlad(given, centroids(), **plain).tobytes()


def test_the_published_form_is_reproduced() -> None:
    with np.load(shared_file("fixtures/vlad_anyloc.npz")) as fixture:
        for i in range(3):
            given, centers = fixture[f"tokens{i}"], fixture["centroids"]
            for name, soft in (("hard", None), ("soft", "anyloc")):
                found = vlad(given, centers, soft=soft, **ANYLOC)
                np.testing.assert_allclose(found, fixture[f"{name}{i}"], rtol=0, atol=5e-8)


def test_the_quirk_is_not_the_standard() -> None:
    given = tokens(1, 40)
    a, b = (vlad(given, centroids(), soft=soft, **ANYLOC) for soft in ("standard", "anyloc"))
    assert np.abs(a - b).max() > 0.01


def test_soft_becomes_hard_as_the_temperature_rises() -> None:
    given = tokens(5, 40)
    for distance in ("euclidean", "cosine"):
        hard = vlad(given, centroids(), distance=distance)
        softs = [
            vlad(given, centroids(), distance=distance, soft="standard", temperature=temperature)
            for temperature in (1.0, 100.0, 1e6)
        ]
        gaps = [np.abs(soft - hard).max() for soft in softs]
        assert gaps[0] > gaps[1] > gaps[2] and gaps[2] < 1e-6


def test_only_the_published_forms_look_at_directions() -> None:
    given, scale = tokens(6, 40), np.random.default_rng(6).uniform(0.1, 9, (40, 1))
    stretched = given * scale
    np.testing.assert_array_equal(
        assign(given, centroids(), distance="cosine"),
        assign(stretched, centroids(), distance="cosine"),
    )
    for soft in (None, "standard", "anyloc"):
        a, b = (vlad(part, centroids(), soft=soft, **ANYLOC) for part in (given, stretched))
        np.testing.assert_allclose(a, b, atol=1e-6)
    assert np.abs(vlad(given, centroids()) - vlad(stretched, centroids())).max() > 0.01


def test_tokens_are_assigned_to_the_most_similar_centroid_and_ties_to_the_first() -> None:
    given = tokens(7, 30)
    for distance in ("euclidean", "cosine"):
        sims = [[similarity(t, c, distance) for c in centroids()] for t in given.astype(float)]
        np.testing.assert_array_equal(
            assign(given, centroids(), distance=distance), np.argmax(sims, axis=1)
        )
        twice = centroids()[[2, 2]]
        assert assign(given, twice, distance=distance).tolist() == [0] * 30


def test_a_descriptor_of_zeros_is_taken_as_it_is() -> None:
    given = tokens(8, 6)
    given[3] = 0
    for form in FORMS:
        found = vlad(given, centroids(), **form)
        np.testing.assert_allclose(found, referee(given, centroids(), **form), atol=1e-7)
    assert not unit_rows(torch.from_numpy(given))[3].any()


def test_how_an_array_lies_in_memory_does_not_matter() -> None:
    given = tokens(1, 40)
    frozen = given.copy()
    frozen.flags.writeable = False
    for same in (frozen, given[::-1][::-1], given.astype(">f4"), np.asfortranarray(given)):
        for form in ({}, ANYLOC):
            same_vector = vlad(same, np.asfortranarray(centroids()), **form)
            np.testing.assert_array_equal(same_vector, vlad(given, centroids(), **form))
    assert given.tobytes() == tokens(1, 40).tobytes()


def test_an_empty_cluster_stays_zero() -> None:
    centers = centroids()
    centers[3] = 1e3
    block = vlad(tokens(2, 30), centers).reshape(C, D)[3]
    np.testing.assert_array_equal(block, np.zeros(D))


@pytest.mark.parametrize("form", FORMS, ids=name_of)
def test_the_order_of_descriptors_does_not_matter(form: dict) -> None:
    given = tokens(3, 60)
    for seed in range(3):
        shuffled = np.random.default_rng(seed).permutation(given)
        np.testing.assert_allclose(
            vlad(shuffled, centroids(), **form), vlad(given, centroids(), **form), atol=1e-7
        )


@pytest.mark.parametrize("form", FORMS, ids=name_of)
def test_neither_batch_nor_padding_changes_a_vector(form: dict) -> None:
    count = np.array([7, 0, 30, 1])
    padded = np.full((4, 30, D), np.nan, np.float32)
    for n, real in enumerate(count):
        padded[n, :real] = tokens(n, real)
    together = vlad_images(padded, count, centroids(), VladForm(**form))
    for n, real in enumerate(count):
        alone = vlad(tokens(n, real), centroids(), **form)
        assert together[n].tobytes() == alone.tobytes()


def test_an_image_without_descriptors_gets_the_constant_unit_vector() -> None:
    for form in FORMS:
        found = vlad(tokens(0, 0), centroids(), **form)
        np.testing.assert_allclose(found, np.full(C * D, (C * D) ** -0.5), rtol=1e-6)
        np.testing.assert_allclose(np.linalg.norm(found), 1.0, rtol=1e-6)


def test_residuals_that_cancel_leave_no_noise() -> None:
    center, offset = centroids()[2].astype(float), tokens(4, 11).astype(float) / 7
    around = center + np.concatenate([offset, -offset.sum(axis=0, keepdims=True)])
    assigned = np.full(12, 2)
    for seed in range(5):
        order = np.random.default_rng(seed).permutation(12)
        values, centers = (torch.tensor(a).double() for a in (around[order], centroids()))
        found = _hard(values, _lengths(values), torch.from_numpy(assigned), centers)
        np.testing.assert_allclose(found, (C * D) ** -0.5, rtol=1e-6)
    on_it = np.repeat(centroids()[[2]], 1000, axis=0)
    np.testing.assert_allclose(vlad(on_it, centroids()), (C * D) ** -0.5, rtol=1e-6)


def test_residuals_far_smaller_than_descriptors_keep_their_direction() -> None:
    centers = centroids().astype(float) * 1000
    offset = tokens(9, 20).astype(float) * 1e-3
    around = (centers[1] + offset).astype(np.float64)
    sums = (around - centers[1]).sum(axis=0)
    found = vlad(around, centers).reshape(C, D)[1]
    np.testing.assert_allclose(found, sums / np.linalg.norm(sums), atol=1e-7)


def test_recorded_numbers() -> None:
    for form, recorded in [
        ({}, RECORDED),
        ({**ANYLOC}, RECORDED_ANYLOC),
        ({**ANYLOC, "soft": "anyloc"}, RECORDED_SOFT),
    ]:
        found = vlad(tokens(1, 40), centroids(), **form)[::3]
        np.testing.assert_allclose(found, recorded, atol=1e-6)


def test_the_loops_that_are_timed_give_the_same() -> None:
    centers = centroids()
    for lean in (False, True):
        found = published_loop(tokens(1, 40), centers, lean=lean)
        np.testing.assert_allclose(found, vlad(tokens(1, 40), centers, **ANYLOC), atol=1e-6)


def test_what_does_not_fit_is_refused() -> None:
    good, centers = tokens(1, 4), centroids()
    bad = good.copy()
    bad[2, 3] = np.nan
    for args, part in [
        ((bad, centers), "image 0 has NaN"),
    ]:
        with pytest.raises(BadInput, match=part):
            vlad(*args)
    for form, part in [
        ({"distance": "manhattan"}, "euclidean or cosine"),
        ({"soft": "hard"}, "standard or anyloc"),
        ({"soft": "standard", "temperature": 0.0}, "above 0"),
        ({"soft": "standard", "temperature": float("nan")}, "above 0"),
    ]:
        with pytest.raises(BadInput, match=part):
            vlad(good, centers, **form)
