"""Floor 1: which images are train, val and test."""
