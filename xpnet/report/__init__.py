"""The report of a run: one HTML page with its settings, scores and pictures."""
