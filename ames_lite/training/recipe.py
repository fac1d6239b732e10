"""How a head is trained: the numbers of a recipe, and the learning rate that follows from them."""

import math
from dataclasses import dataclass
from typing import Literal, get_args

from ames_lite.errors import check_fields

WARMUP_FORMS = ("published", "from_zero")
Loss = Literal["classification", "triplet"]
MetricLoss = Literal["triplet", "infonce", "multi_similarity"]
Mining = Literal["hard", "semihard"]
Norms = Literal["last", "all"]


@dataclass
class Recipe:
    """The published recipe (AMES on GLDv2); keys of the command line, whose help is comments."""

    epochs: int = 10
    batch_size: int = 200  # triplets
    lr: float = 0.0005
    weight_decay: float = 0.0005
    warmup: float = 0.0  # share of the steps with a rising learning rate
    warmup_form: str = "published"  # from lr/3 up to lr (torch's LinearLR); from_zero: lr/n, 2lr/n,
    # … lr in n steps
    max_count: int = 400  # descriptors a side, at most
    min_count: int = 10  # drawn per batch, from it to below max_count; 0: always max_count
    draw_max_count: bool = False  # true: max_count itself can be drawn too
    clip_norm: float = 0.0  # largest gradient norm; 0: no clipping
    rotate: float = 0.0  # share of the batches rotated in descriptor space (augmentation)
    mirror: float = 0.0  # share of the batches mirrored, as if the images were (SIFT alone)
    depth: int = 300  # neighbours that triplets are drawn from
    min_each: int = 5  # positives, and negatives, that an anchor has among them
    accumulate: int = 1  # parts of a step, per device, for less memory; the same step
    beta: float = 10.0  # weight of the distance to the teacher's tokens
    distill_padding: bool = True  # tokens of padding count in the distance, as published
    soft_targets: float = 0.0  # weight of the teacher's probabilities in the labels
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


@dataclass
class DetectorRecipe:
    """How a detector is trained; keys of the command line too."""

    epochs: int = 20
    batch_size: int = 64  # images, at least two groups
    images_per_label: int = 4  # a batch is of groups of one label
    loss: Loss = "classification"  # cosine softmax over all labels; or triplet, hardest of a batch
    margin: float = 0.1  # of either loss, in cosines
    scale: float = 20.0  # of the cosine softmax
    learn_scale: bool = False  # true: scale is its initial value
    dim: int = 0  # width of the descriptors; 0: that of the features
    lr: float = 0.001
    weight_decay: float = 0.0001
    warmup: float = 0.05  # share of the steps with a rising learning rate
    clip_norm: float = 0.0  # largest gradient norm; 0: no clipping
    seed: int = 0

    def __post_init__(self) -> None:
        least = 2 if self.loss == "triplet" else 1
        natural = ("dim", "weight_decay", "clip_norm", "seed")
        groups = 2 * self.images_per_label
        fits = {
            "epochs": (self.epochs >= 1, "at least 1"),
            "images_per_label": (self.images_per_label >= least, f"at least {least}"),
            "batch_size": (self.batch_size >= groups, "two labels or more (2 · images_per_label)"),
            "loss": (self.loss in get_args(Loss), " or ".join(get_args(Loss))),
            "margin": (0 <= self.margin < 2, "in [0, 2)"),
            "warmup": (0 <= self.warmup < 1, "in [0, 1)"),
            **{key: (getattr(self, key) > 0, "above 0") for key in ("scale", "lr")},
            **{key: (getattr(self, key) >= 0, "at least 0") for key in natural},
        }
        check_fields(self, fits)


@dataclass
class FinetuneRecipe:
    """How a backbone is fine-tuned; keys of the command line too."""

    epochs: int = 5
    batch_size: int = 32  # images, of batch_size / images_per_label classes drawn alike
    images_per_label: int = 4  # of a class in a batch
    loss: MetricLoss = "triplet"  # or infonce, multi_similarity; of unit vectors
    mining: Mining = "hard"  # triplet: hardest of the batch; semihard: within the margin
    margin: float = 0.3  # triplet: between L2 distances
    temperature: float = 0.07  # infonce
    last_blocks: int = 2  # that are trained, with what follows them; those before are frozen
    norms: Norms = "last"  # all: normalization layers of frozen blocks are trained too: slower
    lora_rank: int = 0  # above 0: the blocks get low-rank adapters (LoRA), nothing else is trained
    lr: float = 1e-4
    weight_decay: float = 5e-4
    warmup: float = 0.0  # share of the steps with a rising learning rate
    clip_norm: float = 0.0  # largest gradient norm; 0: no clipping
    augment: bool = True  # random crops and flips; false: features of frozen blocks are kept
    image_size: int = 224  # side of the square that the network sees
    patience: int = 2  # epochs without a better mAP@10 after which it stops; 0: never
    precision: str = "fp32"
    seed: int = 0

    def __post_init__(self) -> None:
        ones = dict.fromkeys(("epochs", "last_blocks", "image_size"), 1)
        zeros = dict.fromkeys(("weight_decay", "clip_norm", "lora_rank", "patience", "seed"), 0)
        least = {**ones, **zeros, "images_per_label": 2}
        fits = {key: (getattr(self, key) >= low, f"at least {low}") for key, low in least.items()}
        fits["batch_size"] = (self.batch_size >= 2 * self.images_per_label, "two classes or more")
        for key in ("lr", "margin", "temperature"):
            fits[key] = (getattr(self, key) > 0, "above 0")
        fits["warmup"] = (0 <= self.warmup < 1, "in [0, 1)")
        for key, words in (("loss", MetricLoss), ("mining", Mining), ("norms", Norms)):
            fits[key] = (getattr(self, key) in get_args(words), " or ".join(get_args(words)))
        check_fields(self, fits)


@dataclass
class ClassifierRecipe:
    """How classifiers are fitted on descriptors; keys of the command line too."""

    epochs: int = 30  # of the MLP; the best one by the validation images is kept
    hidden: int = 128  # width of its hidden layer
    batch_size: int = 32  # images of a step of the MLP
    lr: float = 0.001  # of Adam
    weight_decay: float = 0.0001
    k: int = 5  # neighbours that vote
    strength: float = 1.0  # of logistic regression: the inverse of its L2 penalty
    seed: int = 0

    def __post_init__(self) -> None:
        ones = dict.fromkeys(("epochs", "hidden", "batch_size", "k"), 1)
        least = {**ones, "weight_decay": 0, "seed": 0}
        fits = {key: (getattr(self, key) >= low, f"at least {low}") for key, low in least.items()}
        fits |= {key: (getattr(self, key) > 0, "above 0") for key in ("lr", "strength")}
        check_fields(self, fits)


def learning_rate(step: int, steps: int, recipe: Recipe) -> float:
    """The rate of step 0..steps-1: linear warm-up, then a cosine that reaches 0 after the last.

    warmup_form: published (ELViS): from lr / 3, over int(warmup * steps) steps, as torch's
    SequentialLR of LinearLR and CosineAnnealingLR. from_zero: step k of n = round(warmup * steps)
    has lr * (k + 1) / n.
    """
    published = recipe.warmup_form == "published"
    rising = (int if published else round)(recipe.warmup * steps)
    if step < rising:
        return recipe.lr * ((1 + 2 * step / rising) / 3 if published else (step + 1) / rising)
    return recipe.lr * 0.5 * (1 + math.cos(math.pi * (step - rising) / (steps - rising)))
