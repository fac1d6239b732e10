"""Laws of the interface of multi-vector encoders."""

from __future__ import annotations

import inspect

import numpy as np
import pytest
import torch

from ames_lite.errors import BadInput
from ames_lite.interop.multi_vector import MultiVectorReranker
from tests.interop.pictures import picture, sift_reranker


def test_similarity_is_the_score_of_every_pair() -> None:
    own = sift_reranker()
    model = MultiVectorReranker(own)
    queries, gallery = [picture(0), picture(1)], [picture(2), picture(3), picture(4)]
    asked, documents = model.encode_query(queries), model.encode_document(gallery)
    found = model.similarity(asked, documents)
    assert found.shape == (2, 3) and found.dtype == torch.float32
    for row, query in zip(found, queries, strict=True):
        wanted = [own.similarity(query, image).score for image in gallery]
        assert np.allclose(row, wanted, atol=1e-6)
        assert own.rank(query, gallery)[0]["corpus_id"] == int(row.argmax())


def test_embeddings_come_as_asked_and_go_in_in_every_form() -> None:
    model = MultiVectorReranker(sift_reranker())
    images = [picture(0), picture(1)]
    tensors = model.encode_document(images, batch_size=2, show_progress_bar=False)
    arrays = model.encode_document(np.stack(images), convert_to_numpy=True)
    assert all(isinstance(one, torch.Tensor) and one.shape[1] == 128 for one in tensors)
    assert all(np.array_equal(a, t) for a, t in zip(arrays, tensors, strict=True))
    single = model.encode_query(images[0])
    assert torch.equal(single, tensors[0])
    padded = torch.nn.utils.rnn.pad_sequence(tensors, batch_first=True)
    wanted = model.similarity([single], tensors)
    for query, documents in ((single, arrays), (arrays[:1], padded), (single.numpy(), tensors)):
        assert torch.allclose(model.similarity(query, documents), wanted, atol=1e-6)


def test_wrong_images_and_embeddings_are_named() -> None:
    model = MultiVectorReranker(sift_reranker())
    with pytest.raises(BadInput, match="image 1"):
        model.encode_document([picture(0), picture(1) / 2.0])
    with pytest.raises(BadInput, match="128"):
        model.similarity([np.ones((3, 64))], [np.ones((3, 64))])


def test_the_arguments_are_those_of_the_original() -> None:
    original = pytest.importorskip("sentence_transformers").MultiVectorEncoder
    for name in ("encode_query", "encode_document", "similarity"):
        theirs = inspect.signature(getattr(original, name)).parameters
        ours = inspect.signature(getattr(MultiVectorReranker, name)).parameters
        assert set(ours) <= set(theirs), name
        positional = [key for key, p in ours.items() if p.kind is p.POSITIONAL_OR_KEYWORD]
        order = [key for key in theirs if key in positional]
        assert positional == order, name
