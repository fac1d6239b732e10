"""Figures: the failure sheet, and what all figures share."""
