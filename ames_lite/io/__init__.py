"""What all rooms need of the disk: images, checkpoints, atomic writing, digests, provenance."""
