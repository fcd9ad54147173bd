"""Floor 1: what people decided about images, laid over the index."""
