"""Floor 2: labels that are probably wrong."""
