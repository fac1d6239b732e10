"""What to do about a missing or wrong file, in words; a command says it by commands instead.

Rooms below the command line raise with these words. `cli/remedies.py` has the command for each.
"""

EXTRACT = "extract the descriptors anew"
EXTRACT_GLOBAL = "extract global descriptors alone"
DESCRIBE_IMAGES = "extract global descriptors with the images as the source"
VOCABULARY = "build the vocabulary anew"
BINARIZATION = "fit the binarization anew"
WHITENING = "fit the whitening anew"
WHITENED = "narrower descriptors, by a whitening"
NEIGHBORS = "search the neighbours anew"
DETECTOR = "train the detector on the same features"
SCORES = "score the pairs anew"
TUNE = "tune on a validation set"
RESULTS = "evaluate to write results"
SEARCH = "make an index of a folder of images"
CHECK = "check the store for all such rows"
