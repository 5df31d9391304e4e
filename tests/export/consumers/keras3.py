"""Loads an export where Keras is Keras 3: inference in a layer, gradients with TensorFlow alone.

  python keras3.py EXPORT DATA

DATA is an .npz of ``images`` and ``labels``. Writes outputs.npz into the working directory.
"""

import sys

import keras
import numpy as np
import tensorflow as tf

assert keras.__version__.startswith("3."), keras.__version__
assert tf.keras.__version__ == keras.__version__
export, data = sys.argv[1:]
data = np.load(data)
images, labels = data["images"], data["labels"]
outputs = {"versions": [tf.__version__, keras.__version__]}

layer = keras.layers.TFSMLayer(f"{export}/1", call_endpoint="serving_default")
inputs = keras.Input(images.shape[1:])
model = keras.Model(inputs, layer(inputs))
for name, value in model(images).items():
    outputs[name] = value.numpy()

module = tf.saved_model.load(f"{export}/hub/classification")
losses = []
for _ in range(21):
    with tf.GradientTape() as tape:
        logits = module(images, training=True)
        loss = tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits))
    gradients = tape.gradient(loss, module.trainable_variables)
    assert all(gradient is not None for gradient in gradients)
    for gradient, variable in zip(gradients, module.trainable_variables):
        variable.assign_sub(0.03 * gradient)
    losses.append(loss.numpy())
outputs["losses"] = losses

assert not any(name.split(".")[0] in ("tf_simclrv2", "export") for name in sys.modules)
np.savez("outputs.npz", **outputs)
