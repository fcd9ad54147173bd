"""Floor 2: from pixels to fitted models."""
