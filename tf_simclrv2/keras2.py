"""The one place that decides which Keras 2 this machine has, and how TensorFlow starts.

Everything else imports ``tf`` and ``keras`` from here. On Python 3.9-3.11 ``keras`` is Keras 2.15;
on Python 3.12 and newer it is tf-keras, which carries the same API on.
"""

import contextlib
import functools
import os
import sys
from typing import Iterator

_QUIET = "TF_CPP_MIN_LOG_LEVEL" not in os.environ
_TF_KERAS = sys.version_info >= (3, 12)

# TensorFlow leaves oneDNN off on CPUs without AVX-512, where it makes small convolutions several
# times faster. These variables are read when TensorFlow is imported, and a user's own value wins.
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
if _TF_KERAS:
    # Makes tf.keras the same Keras 2 as the one imported below, also inside tensorflow-hub.
    os.environ.setdefault("TF_USE_LEGACY_KERAS", "1")


@contextlib.contextmanager
def silent() -> Iterator[None]:
    """Drops what TensorFlow writes to stderr below its log level, unless the user set a level."""
    if not _QUIET:
        yield
        return
    sys.stderr.flush()
    stderr = os.dup(2)
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 2)
    try:
        yield
    finally:
        os.dup2(stderr, 2)
        os.close(stderr)
        os.close(null)


# Newer TensorFlow writes to stderr before it has read its log level.
with silent() if _TF_KERAS else contextlib.nullcontext():
    import tensorflow as tf

    if _TF_KERAS:
        import tf_keras as keras
    else:
        import keras

tf.get_logger().setLevel("ERROR")

# What TensorFlow raises when it reads checkpoints that are damaged or none of its own.
READ_ERRORS = (tf.errors.OpError, ValueError, RuntimeError, IndexError)


@functools.cache
def start_xla() -> None:
    """Has XLA compile a trivial program first: of its first it tells, whatever the log level."""
    with silent(), tf.init_scope():
        tf.function(tf.identity, jit_compile=True)(tf.zeros([]))


__all__ = ["READ_ERRORS", "keras", "silent", "start_xla", "tf"]
