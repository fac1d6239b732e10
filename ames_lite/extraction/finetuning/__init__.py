"""Fine-tuning of a backbone on labelled images, by losses on its global descriptor."""
