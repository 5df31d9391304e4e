"""SimCLRv2: pretrain without labels, fine-tune on a few, distill with unlabelled images.

"Big Self-Supervised Models are Strong Semi-Supervised Learners", Chen et al., NeurIPS 2020,
https://arxiv.org/abs/2006.10029.
"""

__version__ = "0.1.0"
