"""Standardised features, also where only a few images tell how much these deviate."""

import numpy as np
from sklearn.preprocessing import StandardScaler

# Whose features deviate as all do together, in addition to the images that are there.
_IMAGES_MORE = 10


class ShrunkScaler(StandardScaler):
    """Subtracts each feature's mean and divides by its deviation, pulled towards that of all.

    Many features of a network are zero for most images. Among a few labelled ones such a feature
    may hardly deviate, and divided by next to nothing it outweighs all others as soon as it does.
    So variances are estimated as if some more images had been seen, whose features deviate as all
    do on average. The more images there are, the less this differs from
    :class:`sklearn.preprocessing.StandardScaler`. Values have to be finite. docs/results.md has
    what it is worth.
    """

    def partial_fit(self, X, y=None, sample_weight=None):
        """Learns from more images, see :class:`sklearn.preprocessing.StandardScaler`."""
        super().partial_fit(X, y, sample_weight)
        if self.with_std:
            count = self.n_samples_seen_
            rounding = (count * np.finfo(np.float64).eps * np.abs(self.mean_)) ** 2
            if (self.var_ > rounding).any():
                variances = count * self.var_ + _IMAGES_MORE * self.var_.mean()
                self.scale_ = np.sqrt(variances / (count + _IMAGES_MORE))
        return self
