"""Tests of what is not installed: tools/."""
