"""Which Keras a program gets that imports TensorFlow and this library, in either order."""

import os
import pathlib
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).parents[1]
LIBRARY = "import tf_simclrv2"
# A layer of ours in a model of tf.keras, by each way of naming it.
USE = """
import tensorflow as tf
from tf_simclrv2.networks.heads import ClassifierHead
from tf_simclrv2.keras2 import keras
import numpy as np
tf.keras.Sequential([ClassifierHead(2)])(np.zeros([1, 3], np.float32))
from tensorflow import keras as other
assert other.layers.Layer is keras.layers.Layer
from tensorflow.keras import layers
assert layers.Layer is keras.layers.Layer
from tensorflow.keras.optimizers import SGD
assert SGD is keras.optimizers.SGD is tf.optimizers.SGD
"""

pytestmark = pytest.mark.skipif(
    sys.version_info < (3, 12), reason="tf.keras is always Keras 2 before Python 3.12"
)


def _run(*lines, legacy=None):
    environment = {**os.environ, "TF_USE_LEGACY_KERAS": legacy}
    if legacy is None:
        del environment["TF_USE_LEGACY_KERAS"]
    command = [sys.executable, "-c", "\n".join(lines)]
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)


@pytest.mark.parametrize(
    ("lines", "legacy"),
    [
        ([LIBRARY, "import tensorflow"], None),
        (["import tensorflow as tf; tf.zeros([])", LIBRARY], None),
        (["from tensorflow.keras import layers", LIBRARY], "1"),
        (["import tensorflow as tf; tf.keras.layers.Dense(1)", LIBRARY], "True"),
    ],
    ids=["ours first", "tensorflow first", "told by 1", "told by True"],
)
def test_tf_keras_is_our_keras(lines, legacy):
    result = _run(*lines, USE, legacy=legacy)
    assert result.returncode == 0, result.stderr


@pytest.mark.parametrize(
    ("first", "legacy"),
    [
        ("import tensorflow as tf; tf.keras.layers.Dense(1)", None),
        ("from tensorflow.keras import layers", None),
        ("import tensorflow as tf; tf.optimizers.SGD", None),
        ("import tensorflow", "0"),
    ],
)
def test_where_tf_keras_is_keras_3_a_sentence_says_what_to_do(first, legacy):
    result = _run(first, LIBRARY, legacy=legacy)
    assert result.returncode == 1
    assert result.stderr.splitlines()[-1] == (
        "ImportError: tf_simclrv2 needs Keras 2, but tf.keras is Keras 3 in this process: import "
        "tf_simclrv2 before tensorflow, or set the environment variable TF_USE_LEGACY_KERAS=1 "
        "before Python starts."
    )
