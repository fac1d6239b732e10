"""Training of the detector: features of a frozen backbone in, SpatialAttention2d out."""
