"""Rendered landmark worlds: image files with exact ground truth, from one seed."""

from ames_lite.synthetic.world import WorldSpec, render_world

__all__ = ["WorldSpec", "render_world"]
