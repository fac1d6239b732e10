"""Heads for other runtimes: a graph of one call, from descriptors of pairs to logits. Inputs: query
[B, Q, Din] and gallery [B, T, Din] float32, query_valid [B, Q] and gallery_valid [B, T] bool (True
on a real descriptor). Output: logit [B]. B, Q and T are free, from 1 (B) and 2.
"""

from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ames_lite.errors import ConfigError, check_config
from ames_lite.models.head import SimilarityHead

FORMS = {"torch": ".pt2", "onnx": ".onnx"}
INPUTS = ("query", "gallery", "query_valid", "gallery_valid")
EXAMPLE = (3, 20, 30)  # B, Q and T that the graph is traced with
LARGEST = 2**16


class Pairs(nn.Module):
    """A head without its checks of input: what is exported."""

    def __init__(self, head: SimilarityHead) -> None:
        super().__init__()
        self.head = head

    def forward(
        self, query: Tensor, gallery: Tensor, query_valid: Tensor, gallery_valid: Tensor
    ) -> Tensor:
        """Logits [B]."""
        encoded = self.head._encode(query, query_valid, False)
        return self.head._score(encoded, self.head._encode(gallery, gallery_valid, True))


def export(head: SimilarityHead, form: str, path: str | Path, *, width: int | None = None) -> Path:
    """Write a head as `torch` (.pt2) or `onnx`. width: of a head that takes any. ConfigError."""
    check_config(form in FORMS, f"form={form}", " or ".join(FORMS))
    path, width, suffix = Path(path), head.dim_in or width, FORMS[form]
    check_config(path.suffix == suffix, f"{path.name} as {form}", f"a name that ends in {suffix}")
    if form == "onnx" and find_spec("onnxscript") is None:
        raise ConfigError("ONNX needs other packages", remedy="pip install 'ames_lite[onnx]'")
    if width is None:
        raise ConfigError("the head takes descriptors of any width", expected="width=<Din>")
    example, shapes = _example(width, head.device)
    training, pairs = head.training, Pairs(head).eval()
    with torch.no_grad():
        if form == "torch":
            torch.export.save(torch.export.export(pairs, example, dynamic_shapes=shapes), path)
        else:
            how: Any = {"input_names": INPUTS, "output_names": ["logit"], "verbose": False}
            how |= {"dynamic_shapes": shapes, "dynamo": True}
            program = torch.onnx.export(pairs, example, **how)
            assert program is not None
            program.save(path)
    head.train(training)
    return path


def _example(
    width: int, device: torch.device
) -> tuple[tuple[Tensor, ...], tuple[dict[int, torch.export.Dim], ...]]:
    """Descriptors and masks of some pairs, and which of their axes are free."""
    pairs, num_query, num_gallery = EXAMPLE
    b, q, t = (torch.export.Dim(name, min=1 + (name != "B"), max=LARGEST) for name in "BQT")
    shapes = ((pairs, num_query), (pairs, num_gallery))
    descriptors = (torch.randn(*shape, width, device=device) for shape in shapes)
    valid = (torch.ones(shape, dtype=torch.bool, device=device) for shape in shapes)
    return (*descriptors, *valid), ({0: b, 1: q}, {0: b, 1: t}, {0: b, 1: q}, {0: b, 1: t})
