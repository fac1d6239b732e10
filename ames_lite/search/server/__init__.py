"""Reranking and searching over HTTP, in the form of the Jina and Cohere rerank APIs. `routes`
builds the web app of a `service`; requests are `forms`, their images come through `sources`, their
pairs go to the head in `batches`. Needs the extra ames_lite[serve].
"""
