"""Searching one's own pictures."""
