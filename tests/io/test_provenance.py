"""What was made one way is refused where the other is needed; older files stay of use."""

from __future__ import annotations

import logging
from typing import Any

import pytest

from ames_lite.errors import BadInput
from ames_lite.io.provenance import (
    SAME_DESCRIPTORS,
    SAME_STORES,
    check_trained_on,
    compare_known,
    compare_provenance,
    differences,
)

NETWORK: dict[str, Any] = {
    **{"backbone": "dinov2", "variant": "vitb14_reg", "weights": "abc", "layer": 11},
    **{"descriptor_space": "backbone", "top_k": 700, "image_size": 770, "scales": [1.0]},
}
TODAY = {**NETWORK, "method": "resize", "resize": "area", "query_crop": "int"}
BICUBIC = {**TODAY, "resize": "bicubic"}
OLDER = {**NETWORK, "resize": "resize, torch bicubic antialias to uint8, multiples of 14"}
CUT = {**NETWORK, "resize": "center_crop, torch bicubic antialias to uint8, multiples of 14"}
SIFT = {"backbone": "sift", "variant": "RootSIFT, OpenCV 5.0.0", "resize": "cv2.INTER_AREA"}
FILES = ("a.hdf5", "b.hdf5")


def differ(a: dict[str, Any], b: dict[str, Any]) -> list[str]:
    return [key for key, _, _ in differences(a, b)]


def test_an_older_store_is_as_it_was_made() -> None:
    assert differ(OLDER, BICUBIC) == [] and differ(OLDER, TODAY) == ["resize"]
    without = {key: value for key, value in OLDER.items() if key != "resize"}
    assert differ(without, BICUBIC) == []
    cropped = {**BICUBIC, "method": "center_crop"}
    assert differ(CUT, {**cropped, "crop_rounding": "floor"}) == []
    assert differ(CUT, {**cropped, "crop_rounding": "even"}) == ["crop_rounding"]
    assert differ(CUT, OLDER) == ["method"]
    stretched = {**OLDER, "resize": f"both sides stretched, then {CUT['resize']}"}
    assert differ(stretched, CUT) == []  # image_size tells


def test_only_query_crops_depend_on_how_they_were_cut() -> None:
    whole, queries = {**TODAY, "crop": False}, {**TODAY, "crop": True}
    assert differ(whole, {**whole, "query_crop": "cover"}) == []
    assert differ(queries, {**queries, "query_crop": "cover"}) == ["query_crop"]
    older = {**OLDER, "crop": True}
    assert differ(older, {**BICUBIC, "crop": True, "query_crop": "cover"}) == []
    assert differ(older, {**BICUBIC, "crop": True}) == ["query_crop"]
    assert differ({**SIFT, "crop": True}, {**SIFT, "crop": True, "query_crop": "cover"}) == []


def test_only_vectors_of_the_network_depend_on_how_scales_become_one() -> None:
    mean = "mean of unit vectors"
    assert differ(TODAY, {**TODAY, "global_scales": mean}) == []  # local descriptors
    vector = {key: value for key, value in BICUBIC.items() if key != "descriptor_space"}
    vector |= {"global": "cls", "scales": [0.7, 1.0]}
    assert differ(vector, {**vector, "global_scales": 0.7}) == []  # of the first scale, as it was
    assert differ(vector, {**vector, "global_scales": mean}) == ["global_scales"]


@pytest.mark.parametrize("keys", [SAME_DESCRIPTORS, SAME_STORES, None])
def test_a_message_names_both_values_and_what_to_do(keys: Any) -> None:
    with pytest.raises(BadInput) as error:
        compare_provenance(OLDER, TODAY, keys, files=FILES)
    for part in (
        "resize is 'bicubic' in a.hdf5 and 'area' in b.hdf5",
        "backbone.arguments.resize=",
    ):
        assert part in str(error.value)
    with pytest.raises(BadInput, match="before: make a.hdf5 backbone.arguments.resize=area$"):
        compare_provenance(OLDER, TODAY, keys, files=FILES, anew="make a.hdf5")
    compare_provenance(OLDER, BICUBIC, keys, files=FILES)


def test_of_a_published_file_only_what_it_says_is_compared(
    caplog: pytest.LogCaptureFixture,
) -> None:
    published = {"origin": "published, unknown", "backbone": "dinov2"}
    with caplog.at_level(logging.WARNING):
        compare_known(published, TODAY, ("backbone", "resize"), files=FILES)
    assert "whether resize agree is not known" in caplog.text
    with pytest.raises(BadInput, match="backbone is 'cvnet'"):
        compare_known({**published, "backbone": "cvnet"}, TODAY, ("backbone",), files=FILES)
    with pytest.raises(BadInput, match="'absent' in a.hdf5"):
        compare_known({"backbone": "dinov2"}, TODAY, ("weights",), files=FILES)


def test_a_head_is_for_descriptors_as_it_was_trained_on() -> None:
    for other in (TODAY, {**TODAY, "image_size": 518, "top_k": 50}, {"backbone": "dinov2"}):
        check_trained_on(TODAY, other, files=FILES)
    for unknown in (None, {}, "text", {"origin": "published, unknown"}):
        check_trained_on(unknown, TODAY, files=FILES)
    check_trained_on(OLDER, BICUBIC, files=FILES)
    for wrong in (OLDER, {**TODAY, "layer": 10}, {**TODAY, "weights": "other"}):
        with pytest.raises(BadInput, match="in a.hdf5 and"):
            check_trained_on(TODAY, wrong, files=FILES)
    other_version = {**SIFT, "variant": "RootSIFT, OpenCV 4.11.0"}
    check_trained_on(SIFT, other_version, files=FILES)
    with pytest.raises(BadInput, match="variant is"):
        check_trained_on(TODAY, {**TODAY, "variant": "vits14"}, files=FILES)
