"""The reranker in the interfaces of other libraries."""
