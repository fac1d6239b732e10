"""The interface of sentence-transformers' MultiVectorEncoder, for images; it is not imported.

    model = MultiVectorReranker(ImageReranker.load())
    model.similarity(model.encode_query(queries), model.encode_document(gallery))    # [Q, N]

An embedding is the local descriptors of an image, [T, D]. In place of MaxSim the similarity is the
head's score in [0, 1], in which the sides are not exchanged.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from ames_lite.io.images import ImageLike
from ames_lite.search.image_reranker import ImageReranker

Embedding = Tensor | npt.NDArray[Any]
Embeddings = Embedding | Sequence[Embedding]


class MultiVectorReranker:
    """encode_query, encode_document and similarity of an ImageReranker."""

    def __init__(self, reranker: ImageReranker) -> None:
        self.reranker = reranker

    def encode_query(
        self,
        inputs: ImageLike | Sequence[ImageLike],
        batch_size: int = 32,
        show_progress_bar: bool | None = None,
        *,
        convert_to_numpy: bool = False,
    ) -> Any:
        """Descriptors float32 [T, D] of every image, T as many as it has: a list of tensors, or of
        arrays; of a single image one. batch_size, show_progress_bar: taken, without effect.
        """
        several = isinstance(inputs, list | tuple) or getattr(inputs, "ndim", 0) == 4
        images: Any = inputs if several else [inputs]
        described = self.reranker.describe_all(images)
        arrays = [found.local.descriptors.astype(np.float32) for found in described]
        vectors = arrays if convert_to_numpy else [torch.from_numpy(array) for array in arrays]
        return vectors if several else vectors[0]

    encode_document = encode_query

    def similarity(self, embeddings1: Embeddings, embeddings2: Embeddings) -> Tensor:
        """Scores [Q, N] of queries with documents: lists of [T, D], arrays [N, T, D] whose padding
        is zeros, or a single [T, D]. Raises BadInput.
        """
        sides: list[Any] = [embeddings1, embeddings2]
        queries, documents = ([side] if getattr(side, "ndim", 0) == 2 else side for side in sides)
        scores = [self.reranker.reranker.scores(query, documents) for query in queries]
        return torch.from_numpy(np.stack(scores))
