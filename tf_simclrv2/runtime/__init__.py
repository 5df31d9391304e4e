"""What surrounds training: run directories, checkpoints, devices and the callbacks of ``fit``."""
