"""A rendered street as a VPR dataset, from pixels to positions."""
