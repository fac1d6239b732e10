"""Provenance: the flat dict that says what a file was made from, compared key by key.

Values are those that JSON gives back (tuples are lists), so that runs can be compared with files.
"""

import json
import logging
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from ames_lite.errors import BadInput, explained

logger = logging.getLogger(__name__)
Provenance = dict[str, Any]
Made = Mapping[str, Any]  # a provenance that is only looked at
Files = tuple[str | Path, str | Path]
Keys = Iterable[str] | None  # None: all
ABSENT = "absent"
ORIGIN = "published, unknown"  # `origin` of files that do not say what made them
# arguments of a backbone: how images are cut and resampled, how vectors of scales become one
OPTIONS = ("resize", "method", "crop_rounding", "query_crop", "global_scales")
# what a descriptor is: what is fitted on such descriptors is of use for these alone
SAME_DESCRIPTORS = (
    *("backbone", "variant", "weights", "channels", "facet", "layer"),
    *("detector", "detector_weights", "descriptor_space", "resize", "crop_rounding"),
)
# what the stores of queries and gallery must share; what only one says, the other contradicts
OF_STORES = ("method", "top_k", "threshold", "image_size", "scales", "binarization")
SAME_STORES = (*SAME_DESCRIPTORS, *OF_STORES)
# how descriptors, local ones or feature maps, became a global one
SAME_GLOBALS = (
    *("global", "vocabulary", "assignment", "unit_descriptors", "power", "averaged_by"),
    *("channels", "relup", "rgem_power", "gem_power", "sgem", "global_scales", "flip"),
)
# only centre crops have a rounding, which `method` tells from others; older files do not say boxes
UNSAID = ("crop_rounding", "boxes")
OLDER_RESIZE = "torch bicubic antialias to uint8"  # in `resize` of files from when it was the only


def check_provenance(provenance: Made) -> Provenance:
    """The dict as JSON returns it. BadInput for what could not be compared key by key, and NaN."""
    if not isinstance(provenance, Mapping):
        raise BadInput(f"provenance is {provenance!r}", expected="a flat dict")
    plain = (str, int, float, bool, type(None))
    for key, value in provenance.items():
        entries = value if isinstance(value, list | tuple) else [value]
        if not isinstance(key, str) or not all(isinstance(entry, plain) for entry in entries):
            expected = "a text key with text, numbers, booleans, None or a list of these"
            raise BadInput(f"provenance {key!r} is {value!r}", expected=expected)
    with explained(f"provenance has NaN or infinity: {provenance}", ValueError):
        checked: Provenance = json.loads(json.dumps(dict(provenance), allow_nan=False))
    return checked


def differences(a: Made, b: Made, keys: Keys = None) -> Iterator[tuple[str, Any, Any]]:
    """The keys (None: all) whose values differ or that only one side has, with both values."""
    a, b = comparable(a), comparable(b)
    for key in sorted(a.keys() | b.keys()) if keys is None else keys:
        first, second = a.get(key, ABSENT), b.get(key, ABSENT)
        if key in UNSAID and ABSENT in (first, second):
            continue
        if first != second:
            yield key, first, second


def compare_provenance(
    a: Made,
    b: Made,
    keys: Keys = None,
    *,
    files: Files,  # the two paths, for the message
    remedy: str | None = None,
    anew: str | None = None,  # the command that makes the first anew, but for what differs
) -> None:
    """Raise BadInput at the first of keys (None: all) that differs, or that one side lacks."""
    for key, first, second in differences(a, b, keys):
        alike = "make both files with the same settings, or choose the file that fits"
        if key in OPTIONS:
            alike = f"make one of the two anew with the other's backbone.arguments.{key}="
            if anew is not None and second != ABSENT:
                alike = f"with all else as before: {anew} backbone.arguments.{key}={second}"
        what = f"{key} is {first!r} in {files[0]} and {second!r} in {files[1]}"
        where, expected = f"{files[0]} and {files[1]}", f"the same {key} in both"
        raise BadInput(what, where=where, expected=expected, remedy=remedy or alike)


def compare_known(a: Made, b: Made, keys: Iterable[str], *, files: Files) -> None:
    """Raise BadInput where two provenances differ in one of the keys. Of published files, which do
    not say what made them, only what both say is compared; a warning names the other keys.
    """
    published = "origin" in a or "origin" in b
    unknown = []
    for key, first, second in differences(a, b, keys):
        if published and ABSENT in (first, second):
            unknown.append(key)
        else:
            compare_provenance(a, b, [key], files=files)
    if unknown:
        text = "%s and %s: whether %s agree is not known, one of them is of published form"
        logger.warning(text, *files, ", ".join(unknown))


def check_trained_on(trained_on: object, made: Made, *, files: Files) -> None:
    """Raise BadInput where descriptors (provenance: made) differ from those of a head's training.

    trained_on: `descriptors` of its provenance; None of published heads. What only one of them says
    is not compared; another version of OpenCV makes no other SIFT.
    """
    if not isinstance(trained_on, Mapping):
        return
    both = comparable(trained_on).keys() & comparable(made).keys()
    if trained_on.get("backbone") == "sift":
        both -= {"variant"}
    keys = [key for key in SAME_DESCRIPTORS if key in both]
    compare_provenance(trained_on, made, keys, files=files)


def comparable(made: Made) -> Provenance:
    """Under the keys of today: older files get the values they were made with, idle keys go."""
    found, scales = dict(made), made.get("scales")
    if isinstance(scales, list | tuple) and scales:  # of a network
        text = str(found.get("resize", OLDER_RESIZE))
        cut = "center_crop" in text
        if OLDER_RESIZE in text:
            found["resize"] = "bicubic"
        found.setdefault("method", "center_crop" if cut else "resize")
        if cut:
            found.setdefault("crop_rounding", "floor")
        found.setdefault("global_scales", scales[0])
    if found.get("crop"):
        found.setdefault("query_crop", "cover")
    else:
        found.pop("query_crop", None)
    if "descriptor_space" in found:  # of local descriptors
        found.pop("global_scales", None)
    return found
