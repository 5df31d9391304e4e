"""Loads an export through TensorFlow Hub, from a directory and over HTTP, and trains it in Keras.

  python hub.py EXPORT ADDRESS DATA

ADDRESS serves the export's archives; DATA is an .npz of ``images`` and ``labels``. Writes
outputs.npz into the working directory.
"""

import importlib.util
import os
import sys

os.environ["TF_USE_LEGACY_KERAS"] = "1"

import numpy as np
import tensorflow as tf
import tensorflow_hub as hub

export, address, data = sys.argv[1:]
data = np.load(data)
images, labels = data["images"], data["labels"]
keras = tf.keras
outputs = {}

module = hub.load(f"{address}/module.tar.gz")
outputs["http_features"] = module(images).numpy()
outputs["http_logits"] = hub.load(f"{address}/classification_module.tar.gz")(images).numpy()
outputs["keras_logits"] = hub.KerasLayer(f"{export}/hub/classification")(images).numpy()

features = hub.KerasLayer(f"{export}/hub/feature_vector", trainable=True)
outputs["features"] = features(images).numpy()
model = keras.Sequential([keras.Input(images.shape[1:]), features, keras.layers.Dense(10)])
assert len(model.trainable_variables) == len(features.trainable_variables) + 2
outputs["num_losses"] = len(model.losses)
optimizer = keras.optimizers.SGD(0.1)
# On Python 3.12 and newer there are no addons.
if importlib.util.find_spec("tensorflow_addons"):
    import tensorflow_addons as tfa

    optimizer = tfa.optimizers.SGDW(1e-4, 0.05, 0.9)
outputs["optimizer"] = type(optimizer).__name__
before = [variable.numpy() for variable in features.trainable_variables]
model.compile(optimizer, keras.losses.SparseCategoricalCrossentropy(from_logits=True))
history = model.fit(images, labels, epochs=8, verbose=0)
outputs["losses"] = history.history["loss"]
outputs["moved"] = [
    np.abs(v.numpy() - b).max() for v, b in zip(features.trainable_variables, before)
]
model.save("again", include_optimizer=False)
again = keras.models.load_model("again", compile=False)
outputs["before_saving"], outputs["reloaded"] = model(images).numpy(), again(images).numpy()
outputs["reloaded_trainable"] = len(again.trainable_variables)

assert not any(name.split(".")[0] in ("tf_simclrv2", "export") for name in sys.modules)
np.savez("outputs.npz", **outputs)
