"""What TensorFlow must find in the environment when it is imported, whoever imports it."""

import os
import sys

# Whether this Python's Keras 2 is tf-keras, the package that carries Keras 2 on.
TF_KERAS = sys.version_info >= (3, 12)


def prepare() -> None:
    """Sets the variables that TensorFlow reads as it is imported; a user's own values win."""
    # TensorFlow leaves oneDNN off on CPUs without AVX-512, where it makes small convolutions
    # several times faster.
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")
    if TF_KERAS:
        # Makes tf.keras the same Keras 2 as ours, also inside tensorflow-hub.
        os.environ.setdefault("TF_USE_LEGACY_KERAS", "1")
