"""What training costs: a step against the dense one, the data path against the disk."""
