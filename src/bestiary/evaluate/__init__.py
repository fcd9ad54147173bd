"""Floor 1: arrays in, figures out. No torch, no disk."""
