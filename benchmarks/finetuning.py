"""What a step of fine-tuning costs: ViT-S/14 of random weights, 224 px, 32 images, two blocks.

    python -m benchmarks.finetuning [repeats=5] [batch=32] [blocks=2] [threads=1]

full: the whole network is trained. frozen: the blocks before the last ones run without gradients.
kept: their output is in memory (augment=false). Steps take turns; seconds are medians. Memory: the
largest resident size of a process of its own during two steps.
"""

import sys
from collections.abc import Callable
from typing import Any

import torch

from ames_lite.cli.shell import exit_code, print_table
from ames_lite.extraction.backbones.dinov2 import VARIANTS, Dinov2Network, random_network
from ames_lite.extraction.finetuning.model import Trained, build_loss
from ames_lite.training.recipe import FinetuneRecipe
from benchmarks.own_process import peak_of
from benchmarks.timing import interleaved, middle

KEYS = {"repeats": 5, "batch": 32, "blocks": 2, "threads": 1}
WAYS = ("full", "frozen", "kept")
SIDE, PER_LABEL = 224, 4


def step_of(way: str, batch: int, blocks: int) -> Callable[[], Any]:
    """A training step of one of WAYS, on noise."""
    recipe = FinetuneRecipe(last_blocks=12 if way == "full" else blocks, batch_size=batch)
    spec = VARIANTS["vits14"]
    network: Any = Dinov2Network(random_network(spec, 0), 0).requires_grad_(False)
    model, loss = Trained(network, recipe).eval(), build_loss(recipe)
    if way == "full":
        network.requires_grad_(True)
        model.whole = True  # gradients from the pixels on
    trained = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=recipe.lr)
    generator = torch.Generator().manual_seed(0)
    pixels = torch.randn(batch, 3, SIDE, SIDE, generator=generator)
    labels = torch.arange(batch) // PER_LABEL
    kept = model.frozen(pixels) if way == "kept" else None

    def step() -> None:
        optimizer.zero_grad(set_to_none=True)
        hidden = model.frozen(pixels) if kept is None else kept
        loss(model(hidden), labels).backward()
        optimizer.step()

    return step


def two_steps(way: str, batch: int, blocks: int) -> Callable[[], Any]:
    """The job whose memory is measured."""
    step = step_of(way, batch, blocks)
    return lambda: (step(), step())


def main() -> None:
    words = dict(word.split("=", 1) for word in sys.argv[1:])
    given = {key: int(words.get(key, default)) for key, default in KEYS.items()}
    sizes = {key: given[key] for key in ("batch", "blocks")}
    torch.set_num_threads(given["threads"])
    works = {way: step_of(way, **sizes) for way in WAYS}
    seconds = interleaved(works, given["repeats"], torch.device("cpu"))
    full = middle(seconds["full"])
    rows = []
    for way in WAYS:
        memory = peak_of("benchmarks.finetuning:two_steps", way=way, **sizes)
        spent = middle(seconds[way])
        rows.append([way, f"{spent:.2f}", f"{full / spent:.2f}", memory and f"{memory:.0f}"])
    print_table(["", "seconds a step", "times as fast", "MiB"], rows)


if __name__ == "__main__":
    sys.exit(exit_code(main))
