"""TF-Hub modules: Reusable SavedModels, which can be trained further.

The attributes that TF-Hub's Reusable SavedModel interface asks for
(https://www.tensorflow.org/hub/reusable_saved_models) are set on an object that has no properties
of the same names: a ``tf.Module``'s own would not be saved.
"""

import os
import tarfile
from typing import Any, Dict, List

from tf_simclrv2.config import OptimizationConfig
from tf_simclrv2.keras2 import keras, tf
from tf_simclrv2.networks.network import Network
from tf_simclrv2.networks.roles import VariableRoles, variable_roles
from tf_simclrv2.optimization.optimizers import regularized

from ..model import Model
from ..signatures import IMAGES

SNIPPET = """
## Train it further

`hub/` holds TF-Hub modules (Reusable SavedModels): `feature_vector` (images to
representations)${and_classification}. To host a module, put its archive on a web server and load
the address. `module.tar.gz` holds `feature_vector`${and_archive}.

In Keras 2 (TensorFlow 2.15 and older; for newer ones install tf-keras and set
`TF_USE_LEGACY_KERAS=1`):

```python keras2
import tensorflow as tf
import tensorflow_hub as hub

model = tf.keras.Sequential([
    tf.keras.Input([${size}, ${size}, 3]),
    hub.KerasLayer("hub/feature_vector", trainable=True),
    tf.keras.layers.Dense(5),
])
model.compile("sgd", tf.keras.losses.SparseCategoricalCrossentropy(from_logits=True))
images, labels = tf.zeros([8, ${size}, ${size}, 3]), tf.zeros([8], tf.int32)  # yours
model.fit(images, labels, verbose=0)
```

With any TensorFlow 2, whether its Keras is Keras 2 or Keras 3:

```python
import tensorflow as tf

module = tf.saved_model.load("hub/feature_vector")
images = tf.zeros([8, ${size}, ${size}, 3])  # your images, RGB in [0, 1]
with tf.GradientTape() as tape:
    features = module(images, training=True)
    loss = tf.reduce_mean(tf.square(features))  # your loss
    loss += sum(regularizer() for regularizer in module.regularization_losses)
gradients = tape.gradient(loss, module.trainable_variables)

activations = module.endpoints(images, trainable=False)
print({name: value.shape for name, value in activations.items()})
```

`endpoints` uses the names of google-research/simclr's modules: `initial_conv`,
`initial_max_pool`, `block_group1` to `block_group4`, `final_avg_pool`, `proj_head_input`,
`proj_head_output`${and_logits}.
"""

_ARCHIVES = {"feature_vector": "module.tar.gz", "classification": "classification_module.tar.gz"}


def write(model: Model, directory: str) -> None:
    """Writes the modules into ``hub``, and an archive of each for hosting.

    Args:
      model: what to write; all of its network is made trainable.
      directory: of the export.
    """
    options = tf.saved_model.SaveOptions(experimental_custom_gradients=True)
    functions = HubFunctions(model.network)
    names = ["feature_vector"]
    if model.network.supervised_head is not None:
        names.append("classification")
    for name in names:
        folder = os.path.join(directory, "hub", name)
        module = hub_module(functions, name, model.optimization)
        tf.saved_model.save(module, folder, options=options)
        with tarfile.open(os.path.join(directory, _ARCHIVES[name]), "w:gz") as archive:
            archive.add(folder, arcname=".")


class HubFunctions:
    """The functions of a run's TF-Hub modules, which share their traces.

    All of the network is made trainable: fine-tuning may have frozen layers, and a linear probe
    keeps its gradient from the features, but neither concerns people who train the module further.

    Args:
      network: the network of a run, with its variables.
    """

    def __init__(self, network: Network):
        network.trainable = True
        network.probe = False
        self.network = network
        self.encode = tf.function(network.encoder.endpoints)
        self.classifier_layers: List[keras.layers.Layer] = []
        if network.supervised_head is not None:
            projections = network.projection_head.projections[: network.selected_layer]
            self.classifier_layers = [*projections, network.supervised_head]

    def representation(self, inputs: tf.Tensor, training: bool) -> tf.Tensor:
        """Maps ``inputs`` [batch, height, width, 3] in [0, 1] to [batch, dim]."""
        return self.encode(inputs, training=training)["final_avg_pool"]

    def logits(self, inputs: tf.Tensor, training: bool) -> tf.Tensor:
        """Maps ``inputs`` [batch, height, width, 3] in [0, 1] to [batch, num_classes]."""
        hidden = self.representation(inputs, training)
        for layer in self.classifier_layers[:-1]:
            hidden = layer(hidden, training=training)
        return self.classifier_layers[-1](hidden)

    def endpoints(self, inputs: tf.Tensor, trainable: bool) -> Dict[str, tf.Tensor]:
        """Maps ``inputs`` [batch, height, width, 3] in [0, 1] to every activation by name."""
        endpoints = self.encode(inputs, training=trainable)
        heads = self.network.head_endpoints(endpoints["final_avg_pool"], training=trainable)
        return {**endpoints, **heads}


def hub_module(functions: HubFunctions, output: str, optimization: OptimizationConfig) -> Any:
    """Builds a TF-Hub module: a Reusable SavedModel that maps images to one tensor.

    Args:
      functions: of the network.
      output: ``feature_vector`` or ``classification``.
      optimization: of the run; its weight decay, if above 0, is the module's regularization loss.

    Returns:
      The object to save. Its ``__call__`` takes ``inputs``, float32 [batch, height, width, 3] in
      [0, 1], and ``training``; it has ``variables``, ``trainable_variables`` and
      ``regularization_losses``. ``endpoints`` takes ``inputs`` and ``trainable`` and returns a dict
      of every activation, named as in the modules of the paper's authors.
    """
    network = functions.network
    module = tf.__internal__.tracking.AutoTrackable()
    parts: List[keras.layers.Layer] = [network.encoder]
    compute = functions.representation
    if output == "classification":
        parts += functions.classifier_layers
        compute = functions.logits

    @tf.function
    def call(inputs, training=False):
        return compute(inputs, training)

    @tf.function
    def endpoints(inputs, trainable=False):
        return functions.endpoints(inputs, trainable)

    images = tf.TensorSpec(IMAGES.shape, IMAGES.dtype, "inputs")
    for training in (True, False):
        call.get_concrete_function(images, training=training)
        endpoints.get_concrete_function(images, trainable=training)
    module.__call__ = call
    module.endpoints = endpoints
    module.variables = [v for part in parts for v in part.variables]
    module.trainable_variables = [v for part in parts for v in part.trainable_variables]
    # What only endpoints read.
    own = {variable.ref() for variable in module.variables}
    module.endpoints_variables = [v for v in network.variables if v.ref() not in own]
    trained = {variable.ref() for variable in module.trainable_variables}
    decayed = _decayed(optimization.optimizer, variable_roles(network))
    decayed = [variable for variable in decayed if variable.ref() in trained]
    module.regularization_losses = []
    if optimization.weight_decay:

        @tf.function(input_signature=[])
        def weight_decay_loss():
            losses = [tf.nn.l2_loss(variable) for variable in decayed]
            return optimization.weight_decay * tf.add_n(losses)

        module.regularization_losses.append(weight_decay_loss)
    return module


def _decayed(optimizer: str, roles: VariableRoles) -> List[tf.Variable]:
    """What training decayed: the kernels, whoever decays them, and what else the loss decays."""
    kernels = roles.kernels + roles.supervised
    known = {kernel.ref() for kernel in kernels}
    return kernels + [v for v in regularized(optimizer, roles) if v.ref() not in known]
