"""An ImageReranker as a cross-encoder of mteb. Sole owner of mteb.

    mteb.evaluate(MtebReranker(ImageReranker.load()), task)

For reranking tasks of images: mteb hands in pairs, a query beside each of its candidates.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import groupby
from typing import Any

import numpy as np
import numpy.typing as npt

from ames_lite.errors import BadInput, explained
from ames_lite.extraction.backbones.interface import Described
from ames_lite.io.digest import array_digest
from ames_lite.io.images import as_image
from ames_lite.search.image_reranker import ImageReranker

KEPT = 4096  # images whose descriptors stay, as the same ones come with many queries


class MtebReranker:
    """What mteb.evaluate takes (CrossEncoderProtocol). name: of the results, <user>/<model>."""

    def __init__(self, reranker: ImageReranker, name: str = "ames_lite/reranker") -> None:
        remedy = "pip install 'ames_lite[mteb]'"
        with explained("mteb is not installed", ImportError, remedy=remedy):
            from mteb.models import ModelMeta
        self.reranker, self._kept = reranker, dict[str, Described]()
        about = {"name": name, "modalities": ["image"], "model_type": ["cross-encoder"]}
        self.mteb_model_meta = ModelMeta.create_empty(overwrites=about)

    def predict(
        self, inputs1: Iterable[Any], inputs2: Iterable[Any], **task: Any
    ) -> npt.NDArray[np.float32]:
        """Scores [P] of the pairs of two loaders of batches {"image": [images]}; a query that comes
        several times in a row is encoded once. Raises BadInput for batches without images.
        """
        pairs = zip(self._images(inputs1), self._images(inputs2), strict=True)
        scores = [np.empty(0, np.float32)]
        for _, group in groupby(pairs, lambda pair: pair[0][0]):
            queries, candidates = zip(*group, strict=True)
            query = queries[0][1].local
            found = [image.local for _, image in candidates]
            scores.append(self.reranker.reranker.scores(query, found))
        return np.concatenate(scores)

    def _images(
        self, batches: Iterable[Mapping[str, Sequence[Any]]]
    ) -> Iterator[tuple[str, Described]]:
        """Digest and descriptors of every image, described batch by batch."""
        for batch in batches:
            if "image" not in batch:
                what = f"a batch has {', '.join(batch)}"
                raise BadInput(what, expected="image: a task from images to images")
            pictures = [as_image(image) for image in batch["image"]]
            digests = [array_digest(picture) for picture in pictures]
            known = dict(zip(digests, pictures, strict=True))
            new = {d: picture for d, picture in known.items() if d not in self._kept}
            described = dict(zip(new, self.reranker.describe_all(list(new.values())), strict=True))
            found = {d: described.get(d) or self._kept[d] for d in digests}
            self._kept = {**self._kept, **described} if len(self._kept) < KEPT else described
            yield from ((digest, found[digest]) for digest in digests)
