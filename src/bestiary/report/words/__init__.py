"""Floor 4: the sentences of the report."""
