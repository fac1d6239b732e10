"""Provenance: the flat dict that says what a file was made from, compared key by key.

The convention to know: values are those that JSON gives back (tuples are lists), so that what a
run says about itself equals what it finds in the file of an earlier run.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from ames_lite.errors import BadInput

Provenance = dict[str, Any]
ABSENT = "absent"
# what a descriptor is: what is fitted on such descriptors is of use for these alone
SAME_DESCRIPTORS = (
    *("backbone", "variant", "weights", "facet", "layer"),
    *("detector", "detector_weights", "descriptor_space"),
)
# what the stores of queries and gallery must share; what only one says, the other contradicts
SAME_STORES = (*SAME_DESCRIPTORS, "top_k", "image_size", "scales", "resize", "binarization")
# how descriptors, local ones or feature maps, became a global one
SAME_GLOBALS = (
    *("global", "vocabulary", "assignment", "unit_descriptors", "power", "averaged_by"),
    *("channels", "relup", "rgem_power", "gem_power", "sgem"),
)


def check_provenance(provenance: Mapping[str, Any]) -> Provenance:
    """The dict as JSON returns it (tuples become lists).

    Values are text, numbers, booleans, None or lists of these. Raises BadInput for anything else:
    nested dicts could not be compared key by key, NaN is not equal to itself.
    """
    if not isinstance(provenance, Mapping):
        raise BadInput(f"provenance is {provenance!r}", expected="a flat dict")
    plain = (str, int, float, bool, type(None))
    for key, value in provenance.items():
        entries = value if isinstance(value, list | tuple) else [value]
        if not isinstance(key, str) or not all(isinstance(entry, plain) for entry in entries):
            raise BadInput(
                f"provenance {key!r} is {value!r}",
                expected="a text key with text, numbers, booleans, None or a list of these",
            )
    try:
        checked: Provenance = json.loads(json.dumps(dict(provenance), allow_nan=False))
    except ValueError as error:
        raise BadInput(f"provenance has NaN or infinity: {provenance}") from error
    return checked


def compare_provenance(
    a: Mapping[str, Any],
    b: Mapping[str, Any],
    keys: Iterable[str],
    *,
    files: tuple[str | Path, str | Path],
    remedy: str = "make both files with the same settings, or choose the file that fits",
) -> None:
    """Raise BadInput at the first of keys whose values differ (or that only one side has).

    files: the two paths that a and b come from, for the message.
    """
    for key in keys:
        first, second = a.get(key, ABSENT), b.get(key, ABSENT)
        if first != second:
            raise BadInput(
                f"{key} is {first!r} in {files[0]} and {second!r} in {files[1]}",
                where=f"{files[0]} and {files[1]}",
                expected=f"the same {key} in both",
                remedy=remedy,
            )
