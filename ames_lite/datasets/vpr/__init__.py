"""Official layouts of place recognition and category sets, read to names and positives.

One file a family of layouts; `readers.py` is the visible dict of them.
"""
