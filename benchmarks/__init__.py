"""Measurements of whole commands; see README.md."""
