"""Floor 2: copies among the images of a data set."""
