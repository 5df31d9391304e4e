"""Loads an export with TensorFlow alone: inference, further training, TensorFlow Lite.

  python saved_model.py EXPORT DATA

DATA is an .npz of ``images``, ``labels``, ``image_bytes`` and the digits' test set, ``test_images``
and ``test_labels``. Writes outputs.npz into the working directory.
"""

import sys

import numpy as np
import tensorflow as tf

export, data = sys.argv[1:]
data = np.load(data)
images, labels = tf.constant(data["images"]), tf.constant(data["labels"])
outputs = {}


def keep(prefix, values):
    outputs.update({f"{prefix}/{name}": np.asarray(value) for name, value in values.items()})


served = tf.saved_model.load(f"{export}/1")
keep("serving_default", served.signatures["serving_default"](images=images))
keep("embed", served.signatures["embed"](images=images))
keep(
    "serving_bytes",
    served.signatures["serving_bytes"](image_bytes=tf.constant(list(data["image_bytes"]))),
)
larger = served.signatures["serving_default"](images=tf.zeros([2, 21, 13, 3]))
keep("larger", larger)

for name in ("feature_vector", "classification"):
    module = tf.saved_model.load(f"{export}/hub/{name}")
    keep(name, {"call": module(images), "inference": module(images, training=False)})
    activations = module.endpoints(images, trainable=False)
    keep(f"{name}/endpoints", activations)

    trainable = {variable.ref() for variable in module.trainable_variables}
    statistics = [v for v in module.variables if v.ref() not in trainable]
    before = [variable.numpy() for variable in statistics]
    module(images, training=False)
    moved_in_inference = [np.abs(v.numpy() - b).max() for v, b in zip(statistics, before)]

    # The scales that start from 0 would hide what is behind them from the gradient.
    for variable in module.trainable_variables:
        if not np.any(variable.numpy()):
            variable.assign_add(tf.fill(variable.shape, 0.1))
    readout = tf.Variable(tf.random.stateless_normal([module(images).shape[1], 10], [0, 0]))

    @tf.function
    def step(module=module, readout=readout):
        with tf.GradientTape() as tape:
            logits = tf.matmul(module(images, training=True), readout)
            losses = tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits)
            loss = tf.reduce_mean(losses)
        gradients = tape.gradient(loss, module.trainable_variables)
        for gradient, variable in zip(gradients, module.trainable_variables):
            variable.assign_sub(0.1 * gradient)
        return loss, [tf.norm(gradient) for gradient in gradients]

    steps = [step() for _ in range(21)]
    keep(
        name,
        {
            "moved_in_inference": moved_in_inference,
            "moved_in_training": [np.abs(v.numpy() - b).max() for v, b in zip(statistics, before)],
            "gradient_norms": steps[0][1],
            "losses": [loss for loss, _ in steps],
            "regularization_losses": [loss() for loss in module.regularization_losses],
            "num_variables": [len(module.variables), len(module.trainable_variables)],
        },
    )

test_images, test_labels = data["test_images"], data["test_labels"]
classes = served.signatures["serving_default"](images=tf.constant(test_images))["classes"]
accuracies = {"saved_model": np.mean(classes == test_labels)}
for kind in ("float32", "float16", "int8"):
    interpreter = tf.lite.Interpreter(f"{export}/tflite/{kind}.tflite")
    serve = interpreter.get_signature_runner("serving_default")
    results = [serve(images=image[np.newaxis]) for image in test_images]
    logits = np.concatenate([result["logits"] for result in results])
    keep(f"tflite/{kind}", {"logits": logits})
    accuracies[kind] = np.mean(logits.argmax(axis=1) == test_labels)
    accuracies[f"{kind}_classes"] = np.mean(
        np.concatenate([result["classes"] for result in results]) == logits.argmax(axis=1)
    )
keep("accuracy", accuracies)
keep("test", served.signatures["serving_default"](images=tf.constant(test_images)))

assert not any(name.split(".")[0] in ("tf_simclrv2", "export") for name in sys.modules)
np.savez("outputs.npz", **outputs)
