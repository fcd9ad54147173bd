"""Floor 4: figures and pictures of the report."""
