"""DINOv2 weights: from the hub's cache, a local folder or an original `.pth` into transformers.

Input: a variant and where its weights are. Output: the transformers model, whose every weight came
from the file, and the file's digest.

Nothing is random by accident. Keys and shapes are checked after loading, and a missing, surplus or
misshapen one is an error (but for mask_token, which only pre-training uses).
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from ames_lite.extraction.backbones.dinov2_variants import (
    Variant,
    original_shapes,
    originals_to_transformers,
)
from ames_lite.extraction.backbones.pretrained import (
    Checkpoint,
    load_pretrained,
    missing,
    require_transformers,
    transformers_class,
)
from ames_lite.io.digest import file_digest
from ames_lite.io.weights_file import read_state, refuse_keys

UNUSED = "embeddings.mask_token"  # a weight that plays no part in features
DEFAULTS = {  # of transformers, for what a configuration leaves out
    **{"hidden_size": 768, "num_hidden_layers": 12, "num_attention_heads": 12, "mlp_ratio": 4},
    **{"use_swiglu_ffn": False, "num_register_tokens": 4, "layer_norm_eps": 1e-6},
}


def load_network(variant: Variant, weights: str | Path | None = None) -> tuple[nn.Module, str]:
    """The network in float32 and eval mode, and the SHA-256 of the file that it came from.

    weights: an original `.pth`, a transformers folder, or None for the hub (its cache first).
    Raises MissingFile with what to download and where to put it, and BadInput where the file is
    not of that variant or not all of it.
    """
    checkpoint = _checkpoint(variant)
    if weights is None or Path(weights).expanduser().is_dir():
        return load_pretrained(checkpoint, weights)
    path = Path(weights).expanduser()
    if not path.exists():
        raise missing(checkpoint, Path(weights))
    require_transformers(checkpoint.title)
    network = _filled(read_state(path, checkpoint.expected), variant, path)
    return network.float().eval(), file_digest(path)


def random_network(variant: Variant, seed: int) -> nn.Module:
    """A network whose weights are drawn from the seed: for tests, it has learned nothing."""
    require_transformers("DINOv2")
    generator = torch.Generator().manual_seed(seed)
    state = {}
    for name, shape in sorted(original_shapes(variant).items()):
        noise = torch.randn(shape, generator=generator)
        matrix = name.endswith("weight") and len(shape) > 1
        one = float("norm" in name and name.endswith("weight"))
        state[name] = noise / shape[1] ** 0.5 if matrix else one + 0.1 * noise
    return _filled(state, variant, f"seed {seed}").float().eval()


def _checkpoint(variant: Variant) -> Checkpoint:
    kind = "dinov2_with_registers" if variant.registers else "dinov2"
    return Checkpoint(
        title="DINOv2",
        model=_class_name(variant, "Model"),
        config={"model_type": kind, **variant.config},
        defaults=DEFAULTS,
        hub=variant.hub,
        original=variant.original,
        unused=("mask_token",),
    )


def _class_name(variant: Variant, word: str) -> str:
    return f"Dinov2WithRegisters{word}" if variant.registers else f"Dinov2{word}"


def _filled(state: Mapping[str, Tensor], variant: Variant, path: str | Path) -> nn.Module:
    """A model that holds a state under the original names, and nothing else."""
    model_class, config_class = (
        transformers_class(_class_name(variant, word)) for word in ("Model", "Config")
    )
    with torch.device("meta"):  # nothing is drawn that the file replaces
        network: nn.Module = model_class(config_class(**variant.config))
    wanted = network.state_dict()
    found = originals_to_transformers(state, wanted)
    if UNUSED in wanted:
        found.setdefault(UNUSED, torch.zeros(wanted[UNUSED].shape))
    refuse_keys(
        path,
        _checkpoint(variant).expected,
        missing=wanted.keys() - found.keys(),
        unexpected={name for name in found.keys() - wanted.keys() if name != "mask_token"},
        mismatched={n for n in found.keys() & wanted.keys() if found[n].shape != wanted[n].shape},
    )
    network.load_state_dict({name: found[name].clone() for name in wanted}, assign=True)
    assert not any(value.is_meta for value in (*network.parameters(), *network.buffers()))
    return network
