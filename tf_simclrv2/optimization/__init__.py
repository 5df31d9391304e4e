"""LARS, learning-rate schedules, and the optimizer of a run."""
