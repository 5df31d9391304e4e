"""Reads and writes checkpoints of google-research/simclr."""
