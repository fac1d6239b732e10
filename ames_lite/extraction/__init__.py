"""Extraction: from images to descriptor stores, vocabularies, globals and neighbour lists."""
