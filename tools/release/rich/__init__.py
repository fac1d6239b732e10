"""The rich rendered world, with scenes in space that look more like photographs.

Textures and fronts are what they are made of, scenes puts them together, raster draws them,
exposure lights them, photographs takes the pictures, world writes the data set.
"""
