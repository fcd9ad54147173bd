"""Audit: what is wrong with the data. No torch here: features come in as arrays."""
