"""Training: sampler → dataset → losses → trainer."""
