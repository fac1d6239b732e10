"""Views for networks of patches: factor from the whole image, positions back to it."""

from __future__ import annotations

import itertools
import multiprocessing
import pickle
from concurrent.futures import ProcessPoolExecutor

import numpy as np
import pytest
import torch

from ames_lite.errors import BadInput
from ames_lite.io.resizing import (
    RESIZES,
    Preparation,
    crop_image,
    patch_centres,
    resize_image,
    to_whole_image,
)
from ames_lite.stores.published.safe_pickle import NO_GLOBALS, read_pickle
from tests.helpers import shared_file


def picture(height: int, width: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 255, (height, width, 3)).astype(np.uint8)


def test_the_longer_side_is_resized_and_both_are_rounded_separately() -> None:
    for (height, width), expected in {
        (600, 800): (574, 770),  # 577.5 is nearest to 41 patches
        (800, 600): (770, 574),
        (100, 100): (770, 770),  # small images are enlarged
        (20, 4000): (14, 770),  # at least one patch
    }.items():
        prepared = Preparation()(picture(height, width))
        assert prepared.size == (height, width) and prepared.shape == (expected,)
    assert Preparation(image_size=768)(picture(600, 800)).shape == ((574, 770),)


def test_the_factor_comes_from_the_whole_image() -> None:
    image, box = picture(400, 800), (100.0, 50.0, 300.0, 350.0)
    (view,) = Preparation(image_size=400)(image, box).views
    assert view.pixels.shape == (154, 98, 3) and view.region == box  # 150 × 100, in patches
    expected = resize_image(image[50:350, 100:300], (154, 98), "area", True)
    assert np.array_equal(view.pixels, expected)  # cut first, then resized


def test_scales_multiply_the_size() -> None:
    prepared = Preparation(image_size=140, scales=(0.5, 1, 2))(picture(100, 200))
    assert prepared.shape == ((28, 70), (70, 140), (140, 280))  # 2.5 patches round to even
    assert prepared.num_pixels == 28 * 70 + 70 * 140 + 140 * 280


def test_center_crop_resizes_nothing_and_keeps_the_middle() -> None:
    image = picture(101, 150)
    (view,) = Preparation("center_crop", image_size=0)(image).views
    assert np.array_equal(view.pixels, image[2:100, 5:145])  # 1.5 is rounded to even
    assert view.region == (5.0, 2.0, 145.0, 100.0)
    (floor,) = Preparation("center_crop", image_size=0, crop_rounding="floor")(image).views
    assert np.array_equal(floor.pixels, image[1:99, 5:145])
    (view,) = Preparation("center_crop", image_size=0)(image, (20.0, 10.0, 60.0, 60.0)).views
    assert view.region == (26.0, 14.0, 54.0, 56.0) and view.pixels.shape == (42, 28, 3)
    with pytest.raises(BadInput, match="at least one patch"):
        Preparation("center_crop", image_size=0)(image, (0.0, 0.0, 13.0, 50.0))


def test_a_pair_stretches_both_sides_before_the_method() -> None:
    image = picture(405, 720)
    stretched = resize_image(image, (320, 320), "area", True)
    (view,) = Preparation("center_crop", (320, 320))(image).views
    assert np.array_equal(view.pixels, stretched[6:314, 6:314])  # AnyLoc's 308 × 308
    down, across = 405 / 320, 720 / 320
    expected = (6 * across, 6 * down, 314 * across, 314 * down)
    assert view.region == pytest.approx(expected)
    (view,) = Preparation("center_crop", (480, 640))(image).views
    assert view.pixels.shape == (476, 630, 3)  # Baidu
    for method, size in (("resize", (322, 322)), ("center_crop", (308, 308))):
        prepare = Preparation(method, [320, 320])  # type: ignore[arg-type]  # as YAML has it
        assert prepare(image).shape == (size,) and prepare.image_size == (320, 320)
    prepare = Preparation("resize", (280, 280), scales=(0.5, 1))
    assert prepare(image).shape == ((140, 140), (280, 280))


def test_the_factors_of_a_pair_come_from_the_whole_image() -> None:
    image, box = picture(400, 800), (100.0, 50.0, 300.0, 350.0)
    (view,) = Preparation(image_size=(280, 280))(image, box).views
    assert view.pixels.shape == (210, 70, 3) and view.region == box  # 300 × 0.7, 200 × 0.35
    assert np.array_equal(
        view.pixels, resize_image(image[50:350, 100:300], (210, 70), "area", True)
    )


@pytest.mark.parametrize(
    "size", [5, (320, 13), (320,), (320, 320, 3), (0, 0), 3.5, "320", True, -14]
)
def test_a_size_that_is_none_is_refused(size: object) -> None:
    with pytest.raises(BadInput, match="14 pixels and more"):
        Preparation(image_size=size)  # type: ignore[arg-type]


def test_a_spot_is_found_where_it_is_in_the_whole_image() -> None:
    image = np.zeros((300, 500, 3), np.uint8)
    image[200:214, 350:364] = 255  # its centre: x 357 / 500, y 207 / 300
    sizes: list[int | tuple[int, int]] = [770, 0, 400, (320, 320), (480, 640)]
    for method, size in itertools.product(("resize", "center_crop"), sizes):
        for box in (None, (300.0, 150.0, 481.0, 290.0)):
            (view,) = Preparation(method, size)(image, box).views
            rows, columns = view.pixels.shape[0] // 14, view.pixels.shape[1] // 14
            light = view.pixels.reshape(rows, 14, columns, 14, 3).mean(axis=(1, 3, 4)).ravel()
            centres = to_whole_image(patch_centres(rows, columns), view.region, (300, 500))
            found = (light[:, None] * centres).sum(axis=0) / light.sum()
            assert found == pytest.approx([357 / 500, 207 / 300], abs=0.01), (method, size, box)


def test_bicubic_has_antialias_and_is_rounded_once_or_not_at_all() -> None:
    image = picture(90, 61)
    planes = torch.from_numpy(image).permute(2, 0, 1)[None].double()
    slow = torch.nn.functional.interpolate(planes, (28, 42), mode="bicubic", antialias=True)
    expected = slow[0].permute(1, 2, 0).numpy()
    floats = resize_image(image, (28, 42), "bicubic_float", True)
    assert floats.dtype == np.float32 and np.abs(floats - expected).max() < 1e-3
    whole = resize_image(image, (28, 42), "bicubic", True)
    assert whole.dtype == np.uint8
    assert np.abs(whole - expected.clip(0, 255)).max() < 0.51


def test_bicubic_float_is_not_clamped() -> None:
    edge = np.zeros((40, 40, 3), np.uint8)
    edge[:, 20:] = 255
    floats = resize_image(edge, (80, 80), "bicubic_float", False)
    assert floats.min() < -1 and floats.max() > 256


def by_overlap(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Every new pixel is the mean of the old ones under it, by how much of each it covers."""
    weights = []
    for old, new in zip(image.shape[:2], size, strict=True):
        edges = np.arange(new + 1) * old / new
        pixel = np.arange(old)
        low = np.maximum(edges[:-1, None], pixel)
        weights.append(np.clip(np.minimum(edges[1:, None], pixel + 1) - low, 0, None) * new / old)
    mean: np.ndarray = np.einsum("ab,bdc,ed->aec", weights[0], image.astype(np.float64), weights[1])
    return mean


def between_neighbours(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Bilinear between pixel centres, the border repeated."""
    found = image.astype(np.float64)
    for axis, new in enumerate(size):
        old = image.shape[axis]
        at = np.clip((np.arange(new) + 0.5) * old / new - 0.5, 0, old - 1)
        low = np.floor(at).astype(int)
        high, share = np.minimum(low + 1, old - 1), at - low
        share = share.reshape([-1 if a == axis else 1 for a in range(3)])
        found = found.take(low, axis) * (1 - share) + found.take(high, axis) * share
    return found


def test_area_averages_what_a_pixel_covers_and_enlarges_between_neighbours() -> None:
    image = picture(90, 61)
    small = resize_image(image, (28, 42), "area", True)
    large = resize_image(image, (182, 98), "area", False)
    assert np.abs(small - by_overlap(image, (28, 42))).max() < 0.51
    assert np.abs(large - between_neighbours(image, (182, 98))).max() < 1.01  # in fixed point


def test_the_direction_of_area_is_that_of_the_factor_not_of_the_rounded_sides() -> None:
    image = picture(100, 781)  # shrinks to 770; 98.6 rounds to 98
    (view,) = Preparation(image_size=770)(image).views
    assert np.array_equal(view.pixels, resize_image(image, (98, 770), "area", True))
    image = picture(104, 769)  # grows to 770, but 104.1 rounds down to 98
    (view,) = Preparation(image_size=770)(image).views
    assert np.array_equal(view.pixels, resize_image(image, (98, 770), "area", False))
    assert not np.array_equal(view.pixels, resize_image(image, (98, 770), "area", True))


@pytest.mark.parametrize("resize", RESIZES)
def test_an_image_of_the_right_size_is_not_touched(resize: str) -> None:
    image = picture(28, 42)
    for factor in (True, False):
        assert np.array_equal(resize_image(image, (28, 42), resize, factor), image)


@pytest.mark.parametrize("key", ["method", "resize", "query_crop", "crop_rounding"])
def test_an_option_that_does_not_exist_is_refused_by_its_name(key: str) -> None:
    with pytest.raises(BadInput, match=f"{key} is 'nearest'"):
        Preparation(**{key: "nearest"})  # type: ignore[arg-type]


def test_the_published_centre_crop_rounds_half_to_even() -> None:
    for side in range(14, 14 + 56):
        image, cut = picture(side, 14), side % 14
        (even,) = Preparation("center_crop", image_size=0)(image).views
        half = cut // 2
        if cut % 2 and half % 2:  # half of 3, 7, 11 is as near to an even number above
            half += 1
        assert even.region[1] == half and np.array_equal(
            even.pixels, image[half : half + side - cut]
        )
        (floor,) = Preparation("center_crop", image_size=0, crop_rounding="floor")(image).views
        assert even.region[1] - floor.region[1] == (cut in (3, 7, 11)), side


def test_query_crops_are_truncated_as_published_or_cover_the_box() -> None:
    image, box = picture(90, 60), (10.7, 20.2, 40.3, 80.9)
    crop, region = crop_image(image, box, "int")
    assert region == (10, 20, 40, 80) and np.array_equal(crop, image[20:80, 10:40])
    crop, region = crop_image(image, box, "cover")
    assert region == (10, 20, 41, 81) and np.array_equal(crop, image[20:81, 10:41])
    for rounding in ("int", "cover"):
        assert crop_image(image, (-3.2, -0.5, 99, 99), rounding)[1] == (0, 0, 60, 90)
    with pytest.raises(BadInput, match="leaves nothing"):
        crop_image(image, (10.2, 5.0, 10.9, 50.0), "int")
    for bad in (
        (1, 2, 3),
        (0, 0, float("nan"), 9),
        (0, 0, float("inf"), 9),
        "whole",
        5,
        [None] * 4,
    ):
        with pytest.raises(BadInput, match="four finite numbers"):
            crop_image(image, bad)  # type: ignore[arg-type]
    for outside in ((1e300, 0, 2e300, 9), (-9, -9, -1, -1), (60, 0, 70, 9), (9, 9, 5, 5)):
        with pytest.raises(BadInput, match="leaves nothing"):
            crop_image(image, outside)


def test_23_crops_of_roxford_differ_by_a_pixel_and_3_in_their_patches() -> None:
    path = shared_file("ground_truth/gnd_roxford5k.pkl")
    boxes = [entry["bbx"] for entry in read_pickle(path, NO_GLOBALS)["gnd"]]
    blank = np.zeros((1024, 1024, 3), np.uint8)  # the longer side of all of its images
    views = {
        rounding: [Preparation(query_crop=rounding)(blank, box).views[0] for box in boxes]
        for rounding in ("int", "cover")
    }
    pairs = list(zip(views["int"], views["cover"], strict=True))
    assert sum(a.region != b.region for a, b in pairs) == 23
    assert sum(a.pixels.shape != b.pixels.shape for a, b in pairs) == 3


@pytest.mark.slow
def test_preparation_survives_the_way_to_another_process() -> None:
    prepare, image = Preparation(image_size=70), picture(30, 40)
    assert pickle.loads(pickle.dumps(prepare)) == prepare  # noqa: S301
    with ProcessPoolExecutor(1, multiprocessing.get_context("forkserver")) as pool:
        there = pool.submit(prepare, image).result()
    here = prepare(image)
    assert there.shape == here.shape and there.views[0].region == here.views[0].region
    assert np.array_equal(there.views[0].pixels, here.views[0].pixels)
