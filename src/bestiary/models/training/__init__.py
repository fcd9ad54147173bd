"""Floor 2: a network trained on batches."""
