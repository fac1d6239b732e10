"""A network in two parts, the frozen one, computed without gradients, and the trained one; its
low-rank adapters (LoRA: Hu et al., ICLR 2022) by peft and its losses by pytorch-metric-learning.
"""

import copy
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from ames_lite.errors import explained, require
from ames_lite.extraction.backbones.map_backbone import Staged
from ames_lite.training.recipe import FinetuneRecipe

NORMS = (nn.LayerNorm, nn.BatchNorm2d)
SCALE = 2  # alpha over rank: the factor of what adapters add
REMEDY = "pip install 'ames_lite[finetune]'"
Loss = Callable[[Tensor, Tensor], Tensor]  # of unit vectors [B, D] and labels [B]


class Trained(nn.Module):
    """The trained part, from what `frozen` gives to unit vectors; in eval mode throughout:
    statistics of BatchNorm stay those of the pre-training.

    The last blocks and what follows them are trained, or their adapters alone; norms="all": and the
    norms of all blocks, so that nothing is frozen and gradients pass through the whole network.
    """

    def __init__(self, network: Staged, recipe: FinetuneRecipe) -> None:
        super().__init__()
        self.network, depth = network, len(network.layers)
        what, fine = f"last_blocks is {recipe.last_blocks}", recipe.last_blocks <= depth
        require(fine, what, f"at most {depth}: the backbone has no more")
        self.first, self.whole = depth - recipe.last_blocks, recipe.norms == "all"
        if recipe.lora_rank:
            _add_adapters(network, self.first, recipe.lora_rank, recipe.seed)
        else:
            for part in (*network.layers[self.first :], *network.endings):
                part.requires_grad_(True)
        for module in network.modules() if self.whole else ():
            if isinstance(module, NORMS):
                module.requires_grad_(True)

    def frozen(self, pixels: Tensor) -> Tensor:
        """The hidden state [B, …] that the trained part takes; the pixels where all is trained."""
        if self.whole:
            return pixels
        with torch.no_grad():
            hidden: Tensor = self.network.stem(pixels)
            for layer in self.network.layers[: self.first]:
                hidden = layer(hidden)
        return hidden

    def forward(self, hidden: Tensor) -> Tensor:
        """Unit vectors [B, V] float32 of what `frozen` gives."""
        if self.whole:
            hidden = self.network.stem(hidden)
        for layer in self.network.layers[0 if self.whole else self.first :]:
            hidden = layer(hidden)
        return functional.normalize(self.network.pooled(hidden).float(), dim=1)


class Weights:
    """The trained parameters by name, for a checkpoint, without the frozen ones."""

    def __init__(self, model: Trained) -> None:
        named = model.network.named_parameters()
        self.named = {name: value for name, value in named if value.requires_grad}

    def state_dict(self) -> dict[str, Tensor]:
        return {name: value.detach() for name, value in self.named.items()}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Raises BadInput for the weights of another network."""
        require(state.keys() == self.named.keys(), "the weights are of another network")
        with torch.no_grad():
            for name, value in self.named.items():
                came = state[name]
                require(value.shape == came.shape, f"{name} has the shape {list(came.shape)}")
                value.copy_(came)


def _add_adapters(network: Staged, first: int, rank: int, seed: int) -> None:
    """Add adapters, which add 0 at first, to blocks from `first` on: they alone are trained."""
    require(network.adapted, "lora_rank is of vision transformers", "lora_rank=0")
    parts = {id(part) for layer in network.layers[first:] for part in layer.modules()}
    named = [name for name, part in network.named_modules() if id(part) in parts]
    names = [name for name in named if name.endswith(network.adapted)]
    what = "lora_rank is above 0, and the package peft is not installed"
    with explained(what, ImportError, remedy=REMEDY):
        import peft
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        config = peft.LoraConfig(r=rank, lora_alpha=SCALE * rank, target_modules=names)
        peft.inject_adapter_in_model(config, network)


def merged(network: Any) -> Any:
    """A copy of a network whose adapters, if any, have become part of its weights."""
    found = copy.deepcopy(network)
    for name, module in list(found.named_modules()):
        if hasattr(module, "get_base_layer"):
            module.merge()
            parent, _, own = name.rpartition(".")
            setattr(found.get_submodule(parent), own, module.get_base_layer())
    return found


def build_loss(recipe: FinetuneRecipe) -> Loss:
    """The loss of a recipe. Raises BadInput where the package is not installed.

    triplet: max(0, margin + d(a, p) - d(a, n)), L2 between unit vectors, the mean of what is above
    0. Sources: Hermans et al., In Defense of the Triplet Loss, 2017 (batch hard); Schroff et al.,
    FaceNet, CVPR 2015 (semi-hard); van den Oord et al., 2018 (InfoNCE); Wang et al., CVPR 2019
    (multi-similarity, with its own mining).
    """
    what = "the package pytorch-metric-learning is not installed"
    with explained(what, ImportError, remedy=REMEDY):
        from pytorch_metric_learning import distances, losses, miners
    if recipe.loss == "infonce":
        return losses.NTXentLoss(recipe.temperature)
    if recipe.loss == "multi_similarity":
        criterion, miner = losses.MultiSimilarityLoss(), miners.MultiSimilarityMiner()
    else:
        l2, margin = distances.LpDistance(p=2), recipe.margin
        criterion = losses.TripletMarginLoss(margin, distance=l2)
        semihard = miners.TripletMarginMiner(margin, type_of_triplets="semihard", distance=l2)
        miner = semihard if recipe.mining == "semihard" else miners.BatchHardMiner(distance=l2)
    return lambda vectors, labels: criterion(vectors, labels, miner(vectors, labels))
