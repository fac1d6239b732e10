"""Headers of other people's tables: which of our columns each of theirs is taken as.

SPELLINGS and IGNORED are the whole of it. A column of our own name counts before any spelling; two
columns that may be the same one are refused, both named.
"""

import re
from collections.abc import Collection, Mapping, Sequence

from ames_lite.errors import require

SPELLINGS: Mapping[str, tuple[str, ...]] = {
    "file": (
        *("image_path", "filename", "file_name", "file_path", "filepath", "path", "image", "img"),
        *("image_name", "image_file", "img_path", "image_id", "id", "key"),
    ),
    "label": (
        *("landmark_id", "class", "class_id", "class_name", "category", "category_id", "place"),
        *("place_id", "instance_id", "product_id", "object_id", "landmark", "label_id"),
    ),
    "query": ("query_id", "query_path", "query_image", "query_name", "query_file"),
    "gallery": (
        *("gallery_id", "gallery_path", "gallery_image", "index", "index_id", "reference", "ref"),
        *("reference_id", "reference_path", "database", "database_id", "db", "db_id", "corpus_id"),
    ),
    "x": ("utm_east", "utm_x", "easting", "east"),
    "y": ("utm_north", "utm_y", "northing", "north"),
    "lat": ("latitude",),
    "lon": ("longitude", "lng", "long"),
    "frame": ("frame_id", "frame_number", "frame_index"),
    "relevant": ("relevance", "is_match"),
}
IGNORED = (  # of public tables: nothing is lost with them
    *("", "unnamed:_0", "url", "author", "license", "title", "unique_cluster", "night"),
    *("control_panel", "view_direction"),
)
PAIRS = ({"lat", "lon"}, {"x", "y"})  # that may share a column, such as `lat; lon`
_COLUMN_OF = {theirs: ours for ours, spelled in SPELLINGS.items() for theirs in spelled}


def plain(cell: str) -> str:
    """A header without quotes and blanks around, capitals, and blanks or dashes within.

    >>> plain(" 'Image-Path' ")
    'image_path'
    """
    return re.sub(r"[\s-]+", "_", cell.strip().strip("\"'`").strip().lower())


def column_of(cell: str, words: Collection[str]) -> str | None:
    """The column among `words` that a header is taken as; None for no such column.

    >>> column_of("Landmark ID", ("file", "label")), column_of("latitude", ("file", "label"))
    ('label', None)
    """
    name = plain(cell)
    ours = name if name in words else _COLUMN_OF.get(name)
    return ours if ours in words else None


def both_of(cell: str, words: Collection[str]) -> tuple[str, str, str] | None:
    """The two columns of a header such as `lat; lon`, and what is between them; else None.

    >>> both_of("latitude; longitude", ("lat", "lon"))
    ('lat', 'lon', ';')
    """
    found = re.fullmatch(r"\W*(\w+)\s*([;,/|\s])\s*(\w+)\W*", cell)
    first, second = (column_of(found[part], words) if found else None for part in (1, 3))
    if found and first and second and {first, second} in PAIRS:
        return first, second, found[2]
    return None


def taken_as(written: Sequence[str], words: Collection[str], where: str) -> list[str]:
    """Our names of the columns of a header, those that are none of ours as they are written.

    Raises BadInput where two columns, neither of our own name, may be one.
    """
    own = {plain(cell) for cell in written} & {*words}
    header = [column_of(cell, words) or cell.strip() for cell in written]
    for at, (cell, name) in enumerate(zip(written, header, strict=True)):
        if name in own and plain(cell) != name:
            header[at] = cell.strip()
    for name in {*words} - own:
        both = [cell.strip() for cell, ours in zip(written, header, strict=True) if ours == name]
        what = f"columns {' and '.join(map(repr, both))} may both be {name}"
        require(
            len(both) < 2, what, where=where, expected="one", remedy=f"call the right one {name}"
        )
    return header
