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
from ames_lite.io.resizing import Preparation, patch_centres, resize_image, to_whole_image


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
    expected = resize_image(image[50:350, 100:300], (154, 98))
    assert np.array_equal(view.pixels, expected)  # cut first, then resized


def test_scales_multiply_the_size() -> None:
    prepared = Preparation(image_size=140, scales=(0.5, 1, 2))(picture(100, 200))
    assert prepared.shape == ((28, 70), (70, 140), (140, 280))  # 2.5 patches round to even
    assert prepared.num_pixels == 28 * 70 + 70 * 140 + 140 * 280


def test_center_crop_resizes_nothing_and_keeps_the_middle() -> None:
    image = picture(101, 150)
    (view,) = Preparation("center_crop", image_size=0)(image).views
    assert np.array_equal(view.pixels, image[1:99, 5:145])
    assert view.region == (5.0, 1.0, 145.0, 99.0)
    (view,) = Preparation("center_crop", image_size=0)(image, (20.0, 10.0, 60.0, 60.0)).views
    assert view.region == (26.0, 14.0, 54.0, 56.0) and view.pixels.shape == (42, 28, 3)
    with pytest.raises(BadInput, match="at least one patch"):
        Preparation("center_crop", image_size=0)(image, (0.0, 0.0, 13.0, 50.0))


def test_a_pair_stretches_both_sides_before_the_method() -> None:
    image = picture(405, 720)
    stretched = resize_image(image, (320, 320))
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
    assert np.array_equal(view.pixels, resize_image(image[50:350, 100:300], (210, 70)))


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


def test_resizing_is_bicubic_with_antialias() -> None:
    image = picture(90, 61)
    planes = torch.from_numpy(image).permute(2, 0, 1)[None].double()
    slow = torch.nn.functional.interpolate(planes, (28, 42), mode="bicubic", antialias=True)
    expected = slow[0].permute(1, 2, 0).clamp(0, 255).numpy()
    assert np.abs(resize_image(image, (28, 42)) - expected).max() < 0.51  # rounded once
    assert np.array_equal(resize_image(image, (90, 61)), image)


@pytest.mark.parametrize("method", ["spawn", "forkserver"])
def test_preparation_survives_the_way_to_another_process(method: str) -> None:
    prepare, image = Preparation(image_size=70), picture(30, 40)
    assert pickle.loads(pickle.dumps(prepare)) == prepare  # noqa: S301
    with ProcessPoolExecutor(1, multiprocessing.get_context(method)) as pool:
        there = pool.submit(prepare, image).result()
    here = prepare(image)
    assert there.shape == here.shape and there.views[0].region == here.views[0].region
    assert np.array_equal(there.views[0].pixels, here.views[0].pixels)
