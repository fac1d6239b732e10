"""Official layouts of place recognition and category sets, read to names and positives."""
