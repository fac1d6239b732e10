"""Losses and miners of metric learning, as pytorch-metric-learning has them; its one owner.

triplet: max(0, margin + d(a, p) - d(a, n)), L2 between unit vectors, the mean of what is above 0.
Sources: Hermans et al., In Defense of the Triplet Loss, 2017 (batch hard); Schroff et al., FaceNet,
CVPR 2015 (semi-hard); van den Oord et al., 2018 (InfoNCE); Wang et al., CVPR 2019
(multi-similarity, with its own mining).
"""

from collections.abc import Callable

from torch import Tensor

from ames_lite.errors import BadInput
from ames_lite.training.recipe import FinetuneRecipe

Loss = Callable[[Tensor, Tensor], Tensor]  # of unit vectors [B, D] and labels [B]


def build_loss(recipe: FinetuneRecipe) -> Loss:
    """The loss of a recipe. Raises BadInput where the package is not installed."""
    try:
        from pytorch_metric_learning import distances, losses, miners
    except ImportError as error:
        what = "the package pytorch-metric-learning is not installed"
        raise BadInput(what, remedy="pip install 'ames_lite[finetune]'") from error
    if recipe.loss == "infonce":
        return losses.NTXentLoss(recipe.temperature)
    if recipe.loss == "multi_similarity":
        criterion, miner = losses.MultiSimilarityLoss(), miners.MultiSimilarityMiner()
    else:
        l2, margin = distances.LpDistance(p=2), recipe.margin
        criterion = losses.TripletMarginLoss(margin, distance=l2)
        semihard = miners.TripletMarginMiner(margin, type_of_triplets="semihard", distance=l2)
        miner = semihard if recipe.mining == "semihard" else miners.BatchHardMiner(distance=l2)

    def mined(vectors: Tensor, labels: Tensor) -> Tensor:
        return criterion(vectors, labels, miner(vectors, labels))

    return mined
