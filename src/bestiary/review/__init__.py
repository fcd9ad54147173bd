"""Review: a local page for going through findings, one decision at a time."""
