"""Floor 0: the configuration of a study, typed, parsed and shipped as recipes."""
