"""Data sets: where their files are, image lists, ground truth, official and custom layouts."""
