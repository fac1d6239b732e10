"""A network in two parts: the frozen one, computed without gradients, and the trained one."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional

from ames_lite.errors import BadInput, require
from ames_lite.extraction.backbones.map_backbone import Staged
from ames_lite.extraction.finetuning.lora import add_adapters
from ames_lite.training.recipe import FinetuneRecipe

NORMS = (nn.LayerNorm, nn.BatchNorm2d)


class Trained(nn.Module):
    """The trained part, from what `frozen` gives to unit vectors; in eval mode throughout:
    statistics of BatchNorm stay those of the pre-training.

    The last blocks and what follows them are trained, or their adapters alone; norms="all": and the
    norms of all blocks, so that nothing is frozen and gradients pass through the whole network.
    """

    def __init__(self, network: Staged, recipe: FinetuneRecipe) -> None:
        super().__init__()
        self.network = network
        depth = len(network.layers)
        what, fine = f"last_blocks is {recipe.last_blocks}", recipe.last_blocks <= depth
        require(fine, what, expected=f"at most {depth}: the backbone has no more")
        self.first = depth - recipe.last_blocks
        self.whole = recipe.norms == "all"
        if recipe.lora_rank:
            add_adapters(self.network, self._adapted(), recipe.lora_rank, recipe.seed)
        else:
            for part in (*network.layers[self.first :], *network.endings):
                part.requires_grad_(True)
        for module in self.network.modules() if self.whole else ():
            if isinstance(module, NORMS):
                module.requires_grad_(True)

    def _adapted(self) -> list[str]:
        """The names of the parts of the last blocks that adapters are added to."""
        network = self.network
        require(network.adapted, "lora_rank is of vision transformers", expected="lora_rank=0")
        parts = {id(part) for layer in network.layers[self.first :] for part in layer.modules()}
        named = [name for name, part in network.named_modules() if id(part) in parts]
        return [name for name in named if name.endswith(network.adapted)]

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
                if value.shape != state[name].shape:
                    raise BadInput(f"{name} has the shape {list(state[name].shape)}")
                value.copy_(state[name])
