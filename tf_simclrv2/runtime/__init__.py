"""What surrounds training: the run directory and the callbacks of ``fit``."""
