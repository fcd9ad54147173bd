"""Floor 3: runs, metrics, statistics, comparison."""
