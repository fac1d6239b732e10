"""From arrays as another tool has them to the native record."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest

from ames_lite.errors import BadInput
from ames_lite.stores.published.features.found import Found, Loaded, Rules, layout
from tests.stores.published.features.files import Image, image

SIZE = (48, 64)


def found(one: Image, columns: bool = True, **more: Any) -> Found:
    descriptors = one.descriptors.T if columns else one.descriptors
    loaded = Loaded(descriptors, one.keypoints, one.scores)._replace(**more)
    return Found(descriptors.shape, descriptors.dtype, len(one.keypoints), None, lambda: loaded)


def test_the_strongest_come_first_and_top_k_keeps_them() -> None:
    one = image(0, count=9)
    order = np.argsort(-one.scores)
    whole = Rules(True, 8).local(found(one), SIZE)
    np.testing.assert_array_equal(whole.descriptors, one.descriptors[order])
    np.testing.assert_array_equal(whole.weight, one.scores[order])
    few = Rules(True, 8, top_k=4).local(found(one), SIZE)
    np.testing.assert_array_equal(few.descriptors, whole.descriptors[:4])
    np.testing.assert_array_equal(few.xy, whole.xy[:4])


def test_without_scores_the_order_stays_and_top_k_is_spread_over_it() -> None:
    one = image(0, count=9)
    found_ = found(one, scores=None)
    whole = Rules(True, 8).local(found_, SIZE)
    np.testing.assert_array_equal(whole.descriptors, one.descriptors)
    assert set(whole.weight.tolist()) == {1.0}
    few = Rules(True, 8, top_k=3).local(found_, SIZE)
    np.testing.assert_array_equal(few.descriptors, one.descriptors[[0, 4, 8]])


@pytest.mark.parametrize("pixels, shift", [("centre", 0.5), ("corner", 0.0)])
def test_positions_are_shares_of_the_image(pixels: str, shift: float) -> None:
    one = image(0, dtype=np.float32)
    given = Rules(True, 8, pixels=pixels).local(found(one), SIZE)
    wanted = (one.keypoints.astype(float) + shift) / (64, 48)
    np.testing.assert_allclose(given.xy, wanted[np.argsort(-one.scores)], atol=1e-6)


@pytest.mark.parametrize(
    "dtype, x, fine",
    [
        (np.float32, 64.0, True),
        (np.float32, 64.1, False),
        (np.float32, -1.0, True),
        (np.float32, -1.1, False),
        (np.float16, 64.0, True),
        (np.float16, 65.0, False),
    ],
)
def test_keypoints_are_moved_by_half_a_pixel_at_most(dtype: Any, x: float, fine: bool) -> None:
    one = image(0, dtype=dtype)
    keypoints = one.keypoints.copy()
    keypoints[2] = (x, 3)
    moved = found(one._replace(keypoints=keypoints))
    if fine:
        xy = Rules(True, 8).local(moved, SIZE).xy
        assert xy.max() == 1.0 or xy.min() == 0.0
    else:
        with pytest.raises(BadInput, match="1 of 5 keypoints lie outside"):
            Rules(True, 8).local(moved, SIZE)


def test_float16_keypoints_of_large_images_are_rounded_beyond_the_border() -> None:
    one = image(0)
    keypoints = one.keypoints.astype(np.float16)
    keypoints[0] = 3999.5  # is 4000 in float16
    given = Rules(True, 8).local(found(one._replace(keypoints=keypoints)), (4000, 4000))
    assert given.xy.max() == 1


def test_shares_of_the_image_are_not_taken_for_pixels() -> None:
    one = image(0, count=20)
    shares = found(one._replace(keypoints=one.keypoints / 64))
    with pytest.raises(BadInput, match="first pixel"):
        Rules(True, 8).local(shares, SIZE)


@pytest.mark.parametrize("part", ["keypoints", "descriptors", "scores"])
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_what_is_not_finite_is_refused_by_name(part: str, value: float) -> None:
    one = image(0)
    values = getattr(one, part).copy()
    values[1] = value
    with pytest.raises(BadInput, match=f"{part} have NaN or infinity"):
        Rules(True, 8).local(found(one._replace(**{part: values})), SIZE)


def test_values_beyond_float16_are_refused() -> None:
    one = image(0, dtype=np.float32)
    with pytest.raises(BadInput, match="65504"):
        Rules(True, 8).local(found(one._replace(descriptors=one.descriptors + 70000)), SIZE)


def test_bits_stay_as_they_are() -> None:
    one = image(0)
    bits = np.random.default_rng(0).integers(0, 256, (5, 4)).astype(np.uint8)
    given = Rules(False, 4, packed=True).local(found(one._replace(descriptors=bits), False), SIZE)
    np.testing.assert_array_equal(given.descriptors, bits[np.argsort(-one.scores)])


@pytest.mark.parametrize("shape, wanted", [((8, 5), True), ((5, 8), False), ((5, 5), None)])
def test_the_layout_is_told_by_the_number_of_keypoints(shape: Any, wanted: bool | None) -> None:
    assert layout(Found(shape, np.dtype("f4"), 5, None, Loaded)) is wanted


@pytest.mark.parametrize("shape", [(8, 4), (40,), (1, 8, 5), ()])
def test_other_shapes_are_refused(shape: Any) -> None:
    with pytest.raises(BadInput, match=re.escape(f"descriptors are {list(shape)} for 5 keypoints")):
        layout(Found(shape, np.dtype("f4"), 5, None, Loaded))


@pytest.mark.parametrize(
    "change, said",
    [
        ({"keypoints": None}, "an array 'keypoints'"),
        ({"descriptors": np.array(["a"])}, "'descriptors' is <U1"),
        ({"keypoints": np.zeros(5)}, r"'keypoints' is \[5\]"),
        ({"keypoints": np.zeros((5, 1))}, r"'keypoints' is \[5, 1\]"),
        ({"image_size": np.zeros(3)}, "image size"),
    ],
)
def test_members_of_another_form_are_named(change: dict[str, Any], said: str) -> None:
    members = {"keypoints": np.zeros((5, 2)), "descriptors": np.zeros((8, 5)), **change}
    with pytest.raises(BadInput, match=said):
        Found.of({name: value for name, value in members.items() if value is not None}, False)


@pytest.mark.parametrize("empty", [np.zeros((8, 0)), np.zeros((0, 8)), np.zeros(0)])
def test_an_image_without_keypoints_is_empty(empty: np.ndarray) -> None:
    members = {"keypoints": np.zeros((0, 2)), "descriptors": empty, "scores": np.zeros(0)}
    given = Rules(True, 8).local(Found.of(members, False), SIZE)
    assert given.descriptors.shape == (0, 8)
