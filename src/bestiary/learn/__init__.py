"""Floor 2: weights, backbones, features, heads, training."""
