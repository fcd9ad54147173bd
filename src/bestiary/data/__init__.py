"""Floor 1: from a folder of files to tables and pixels. No torch here."""
