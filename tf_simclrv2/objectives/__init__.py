"""The losses: contrastive, and distillation."""
