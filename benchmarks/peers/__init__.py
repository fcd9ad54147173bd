"""Peers: one script each, run by the interpreter of the peer's own environment. They import nothing of this project."""
