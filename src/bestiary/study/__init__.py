"""Floor 5: a study, its stages, and the comparison of its runs."""
