"""Which files lie in a folder, and what the folders above them mean."""
