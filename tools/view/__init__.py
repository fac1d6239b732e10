"""Pictures of what the files hold: clusters and weights over images, maps of global descriptors."""
