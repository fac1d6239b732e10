"""How heads are initialised before training."""
