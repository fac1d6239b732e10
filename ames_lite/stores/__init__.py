"""Our own files of arrays, HDF5 and npz: descriptors, neighbour lists, scores, vocabularies."""
