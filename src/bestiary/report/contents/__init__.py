"""Floor 4: what stands in the sections of the report, one module a subject."""
