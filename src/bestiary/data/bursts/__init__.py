"""Bursts: photos that one camera took within seconds of one another, and that belong together."""
