"""Floor 3: fitting a model, and the record of it on disk."""
