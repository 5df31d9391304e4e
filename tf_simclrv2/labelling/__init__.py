"""Which images to label, and whether the labels are right: pure functions on frozen features.

Features and labels are arrays; where an image has no label, its label is -1. Nothing here knows
networks, runs or flags.
"""
