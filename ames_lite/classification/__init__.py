"""Classes of images from their global descriptors."""
