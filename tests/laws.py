"""What tests of laws share: few examples, the same in every run, and arrays of all kinds.

LAW_EXAMPLES in the environment: how many examples of each law (make slow: 1000).
"""

from __future__ import annotations

import os
from typing import Any

import hypothesis.extra.numpy as arrays
import numpy as np
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

law = settings(
    derandomize=True,
    max_examples=int(os.environ.get("LAW_EXAMPLES", 30)),
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
KINDS = ("f2", "f4", "f8", ">f4", "u1", "i4", "i8", "?", "S2", "c8")


@st.composite
def any_arrays(draw: Any, *ndims: int) -> list[np.ndarray[Any, Any]]:
    """Arrays of so many axes, mostly of common sides, of kinds that may be right or wrong."""
    sides = draw(st.lists(st.integers(0, 4), min_size=3, max_size=3))
    found = []
    for ndim in ndims:
        odd = draw(st.integers(0, 9)) == 0
        shape = draw(arrays.array_shapes(max_dims=3, min_side=0)) if odd else tuple(sides[:ndim])
        kind = np.dtype(draw(st.sampled_from(KINDS)))
        small = st.integers(0, 5).map(kind.type)
        few = small if kind.kind in "fui" and draw(st.booleans()) else None
        found.append(draw(arrays.arrays(kind, shape, elements=few)))
    return found


def floats(kind: str, low: float, high: float) -> st.SearchStrategy[float]:
    width = {"f2": 16, "f4": 32, "f8": 64}[kind]
    return st.floats(low, high, width=width, allow_subnormal=False)  # type: ignore[arg-type]
