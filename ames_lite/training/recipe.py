"""How a head is trained: the numbers of a recipe, and the learning rate that follows from them."""

import math
from dataclasses import dataclass

from ames_lite.errors import check_fields

WARMUP_FORMS = ("published", "from_zero")


@dataclass(frozen=True)
class Recipe:
    """The numbers of a run; the defaults are the published recipe (AMES on GLDv2)."""

    epochs: int = 10
    batch_size: int = 200  # triplets
    lr: float = 5e-4
    weight_decay: float = 5e-4
    warmup: float = 0.0  # share of all steps with a rising learning rate (ELViS: 0.1)
    warmup_form: str = "published"  # see `learning_rate`
    max_count: int = 400  # descriptors a side, at most
    min_count: int = 10  # counts are drawn per batch from min_count to max_count; 0: always max
    draw_max_count: bool = False  # whether max_count is among them (published: it is not)
    clip_norm: float = 0.0  # largest gradient norm; 0: no clipping
    rotate: float = 0.0  # share of the batches that are rotated in descriptor space
    mirror: float = 0.0  # share of the batches that are mirrored (SIFT alone)
    depth: int = 300  # neighbours that triplets are drawn from
    min_each: int = 5  # an anchor has so many of its own and of other labels among them
    accumulate: int = 1  # parts that a batch is computed in, one after the other (memory)
    beta: float = 10.0  # weight of the distance to the teacher's tokens, where there is a teacher
    distill_padding: bool = True  # the tokens of padding count in it (published)
    soft_targets: float = 0.0  # share of the labels that the teacher's probabilities take over
    precision: str = "fp32"
    seed: int = 0

    def __post_init__(self) -> None:
        ones = dict.fromkeys(("epochs", "batch_size", "max_count", "min_each"), 1)
        zeros = dict.fromkeys(("weight_decay", "clip_norm", "beta", "seed"), 0)
        least = {**ones, **zeros, "depth": 2}
        fits = {key: (getattr(self, key) >= low, f"at least {low}") for key, low in least.items()}
        for key in ("rotate", "mirror", "soft_targets"):
            fits[key] = (0 <= getattr(self, key) <= 1, "in [0, 1]")
        for key, low, most in (("min_count", 0, "max_count"), ("accumulate", 1, "batch_size")):
            high = getattr(self, most)
            fits[key] = (low <= getattr(self, key) <= high, f"from {low} to {most}, {high}")
        fits["lr"] = (self.lr > 0, "above 0")
        fits["warmup"] = (0 <= self.warmup < 1, "in [0, 1)")
        fits["warmup_form"] = (self.warmup_form in WARMUP_FORMS, " or ".join(WARMUP_FORMS))
        check_fields(self, fits)


def learning_rate(step: int, steps: int, recipe: Recipe) -> float:
    """The rate of step 0..steps-1: linear warm-up, then a cosine that reaches 0 after the last.

    warmup_form: published (ELViS): from lr / 3, over int(warmup * steps) steps, as torch's
    SequentialLR of LinearLR and CosineAnnealingLR. from_zero: step k of n = round(warmup * steps)
    has lr * (k + 1) / n.

    >>> [round(learning_rate(s, 4, Recipe(lr=1.0)), 3) for s in range(5)]
    [1.0, 0.854, 0.5, 0.146, 0.0]
    """
    published = recipe.warmup_form == "published"
    rising = (int if published else round)(recipe.warmup * steps)
    if step < rising:
        return recipe.lr * ((1 + 2 * step / rising) / 3 if published else (step + 1) / rising)
    return recipe.lr * 0.5 * (1 + math.cos(math.pi * (step - rising) / (steps - rising)))
