"""How much memory scoring may take, and for what.

What the process holds already counts; encoded images lie on the device, so on a GPU it is the GPU's
free memory that bounds them.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import NamedTuple

import torch

from ames_lite.errors import BadInput
from ames_lite.runtime import peak_memory_mib

LEAST = 1 << 28  # 256 MiB, below which nothing sensible can be done
BLOCK_BYTES = 1 << 26  # more than that at a time reads no faster
COPIES = 8  # of a block: waiting, being read, in use, converted


class Budget(NamedTuple):
    """Bytes."""

    queries: int  # encoded queries, at once
    gallery: int  # encoded gallery images that are kept for further queries
    block: int  # stored descriptors read at a time


def share_out(max_memory: float, device: torch.device) -> Budget:
    """What max_memory GiB are for. Raises BadInput where they are too few."""
    held = _resident_bytes()
    free = int(max_memory * 2**30) - held
    if free < LEAST:
        raise BadInput(
            f"max_memory={max_memory:g} GiB, and the process has {held / 2**30:.2f} GiB already",
            expected=f"at least {(held + LEAST) / 2**30:.1f}",
        )
    block = min(BLOCK_BYTES, free // 8 // COPIES)
    encoded = torch.cuda.mem_get_info(device)[0] if device.type == "cuda" else free
    return Budget(encoded * 2 // 5, encoded // 4, block)


def _resident_bytes() -> int:
    """Memory of the process now; where the system does not tell, its peak."""
    statm = Path("/proc/self/statm")
    if statm.is_file():
        return int(statm.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    peak = peak_memory_mib()
    return 0 if peak != peak else int(peak * 2**20)
