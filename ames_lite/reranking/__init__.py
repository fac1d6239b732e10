"""Reranking: score pairs, combine with the global similarity, reorder."""

from ames_lite.reranking.reranker import Reranker

__all__ = ["Reranker"]
