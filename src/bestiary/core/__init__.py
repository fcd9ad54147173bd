"""Floor 0: errors, config, files, progress. Imports nothing of bestiary above it."""
