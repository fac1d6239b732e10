"""The rendered landmark worlds: real image files with exact ground truth, from one seed.

`render_world(WorldSpec(role, seed), folder, name)` writes a data set in the ROxford form (test,
val) or the GLDv2 list form (train). facades draws landmarks, views photographs them, world writes
the files.
"""

from ames_lite.synthetic.world import WorldSpec, render_world

__all__ = ["WorldSpec", "render_world"]
