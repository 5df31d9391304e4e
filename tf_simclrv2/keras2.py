"""The one place that decides which Keras 2 this machine has, and how TensorFlow starts.

Everything else imports ``tf`` and ``keras`` from here. On Python 3.9-3.11 ``keras`` is Keras 2.15;
on Python 3.12 and newer it is tf-keras, which carries the same API on.
"""

import os
import sys

# TensorFlow leaves oneDNN off on CPUs without AVX-512, where it makes small convolutions several
# times faster. Both variables are read when TensorFlow is imported, and a user's own value wins.
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

_TF_KERAS = sys.version_info >= (3, 12)
if _TF_KERAS:
    # Makes tf.keras the same Keras 2 as the one imported below, also inside tensorflow-hub.
    os.environ.setdefault("TF_USE_LEGACY_KERAS", "1")

import tensorflow as tf  # noqa: E402

if _TF_KERAS:
    import tf_keras as keras
else:
    import keras

tf.get_logger().setLevel("ERROR")

__all__ = ["keras", "tf"]
