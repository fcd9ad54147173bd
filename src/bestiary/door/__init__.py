"""Floor 5: the command line and the Study object."""
