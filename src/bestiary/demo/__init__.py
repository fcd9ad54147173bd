"""Floor 6: the packaged example with planted faults."""
