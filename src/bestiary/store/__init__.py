"""Floor 0: files, tables, locks, hashes, and the row store under all caches."""
