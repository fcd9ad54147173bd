"""Floor 2: frozen passes over images, and their caches."""
