"""Floor 2: what image files show of their quality."""
