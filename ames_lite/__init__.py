"""ames_lite: rerank image retrieval results with local descriptors and a small transformer."""

__version__ = "0.1.0"
