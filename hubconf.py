"""torch.hub entry points: heads by name, ready to score pairs of images (ames_lite/hub.py).

    model = torch.hub.load("<owner>/ames_lite", "dinov2_ames").eval()
    logit = model(src_local=query, tgt_local=gallery)   # [B, Q, Din], [B, T, Din] -> [B]

Masks (`src_mask`, `tgt_mask`) are True on padding. Needs torch, einops and safetensors. A process
holds one checkout: a second one is refused (ImportError).
"""

import sys as _sys
from pathlib import Path as _Path

dependencies = ["torch", "einops", "safetensors"]

_own = _Path(__file__).resolve().parent / "ames_lite"
_loaded = _sys.modules.get("ames_lite")
_places = [_Path(_place).resolve() for _place in getattr(_loaded, "__path__", [])]
if _loaded is not None and _own.is_dir() and _own not in _places:
    raise ImportError(  # Python would take the one that is loaded, without a word
        "another ames_lite is loaded already in this process\n"
        f"  where:    {', '.join(map(str, _places))}\n"
        f"  expected: {_own}\n"
        "  remedy:   load this checkout in a new process"
    )

from ames_lite.hub import ENTRIES as _ENTRIES  # noqa: E402
from ames_lite.hub import entry_point as _entry_point  # noqa: E402

globals().update({_name: _entry_point(_name) for _name in _ENTRIES})
