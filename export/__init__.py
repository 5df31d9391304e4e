"""Ways out of a run directory: SavedModel and TF-Hub module."""
