"""From a run directory to what others load: SavedModels, TF-Hub modules, TensorFlow Lite models."""
