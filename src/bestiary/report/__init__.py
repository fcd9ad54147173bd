"""The report: figures, sentences and one HTML file, from the tables of a study. No torch here."""
