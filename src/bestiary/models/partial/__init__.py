"""Floor 2: training the last stages of a network only."""
