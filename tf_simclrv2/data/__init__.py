"""Images and labels: sources, label fractions, augmentation, and the input pipeline."""
