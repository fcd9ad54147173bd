"""Floor 4: the exported model, and predictions with it."""
