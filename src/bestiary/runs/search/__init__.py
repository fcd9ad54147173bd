"""Floor 3: heads proposed by Optuna, judged out of fold over cached features."""
