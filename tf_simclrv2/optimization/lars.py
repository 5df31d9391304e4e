"""LARS, layer-wise adaptive rate scaling (You et al., arXiv:1708.03888)."""

from typing import Any, Dict, List, Set, Union

from tf_simclrv2.config import OptimizationConfig
from tf_simclrv2.keras2 import keras, registered, tf
from tf_simclrv2.networks.roles import VariableRoles
from tf_simclrv2.optimization.exclusion import Excluded, Exclusion, is_bias_or_norm
from tf_simclrv2.optimization.schedules import WarmupCosine


@registered
class LARS(keras.optimizers.Optimizer):
    """Momentum SGD whose step in each layer is scaled by the layer's own norm.

    You et al., "Large Batch Training of Convolutional Networks" (arXiv:1708.03888). The scale of a
    layer, its trust ratio, is ``eeta * |w| / |g + l2 * w|``.

    Args:
      learning_rate: float or schedule.
      momentum: decay of the momentum buffer, in [0, 1).
      nesterov: whether to look ahead.
      l2: weight decay, added to the gradient before the trust ratio is taken.
      classic_momentum: whether the learning rate is applied before momentum (classic) or after.
      eeta: the trust ratio's factor.
      excluded: what is neither decayed nor scaled: variables; layers, for all their variables; or a
        function that maps a variable to a bool. By default vectors and scalars, thus all biases
        and batch norm, which is common practice; ``()`` excludes nothing. Runs of this project
        exclude the classifier as well.
      name: the optimizer's name.
      **kwargs: what any ``keras.optimizers.Optimizer`` takes, such as ``clipnorm``.

    A saved model keeps what is excluded: a function by its name, so that it has to be registered
    with ``keras.saving.register_keras_serializable``; variables and layers by their positions among
    the variables that are trained, or, if the optimizer has not met these yet, by their names.
    Variables that don't fit what was saved are refused with a ValueError.

    Example:

    ```python
    model.compile(optimizer=LARS(0.3, l2=1e-6), loss="sparse_categorical_crossentropy")
    model.compile(optimizer=LARS(0.3, excluded=[model.get_layer("classifier")]))
    ```
    """

    def __init__(
        self,
        learning_rate: Union[float, keras.optimizers.schedules.LearningRateSchedule] = 0.3,
        momentum: float = 0.9,
        nesterov: bool = False,
        l2: float = 0.0,
        classic_momentum: bool = True,
        eeta: float = 0.001,
        excluded: Excluded = is_bias_or_norm,
        name: str = "LARS",
        **kwargs,
    ):
        # Keras decays weights, in a pass of its own, unless its own weight decay is None.
        super().__init__(name=name, **{"jit_compile": False, "weight_decay": None, **kwargs})
        self._learning_rate = self._build_learning_rate(learning_rate)
        self.momentum = momentum
        self.nesterov = nesterov
        self.l2 = l2
        self.classic_momentum = classic_momentum
        self.eeta = eeta
        self._exclusion = Exclusion(excluded)
        # Keys, since a checkpoint would hold variables.
        self._excluded: Set[str] = set()

    def build(self, var_list: List[tf.Variable]) -> None:
        """Creates a momentum buffer for each variable."""
        super().build(var_list)
        if getattr(self, "_built", False):
            return
        self._excluded = {self._var_key(each) for each in self._exclusion.choose(var_list)}
        self.momentums = [
            self.add_variable_from_reference(variable, "momentum") for variable in var_list
        ]
        self._built = True

    def update_step(self, gradient: tf.Tensor, variable: tf.Variable) -> None:
        """Updates one variable and its momentum buffer in place."""
        learning_rate = tf.cast(self.learning_rate, variable.dtype)
        key = self._var_key(variable)
        momentum = self.momentums[self._index_dict[key]]
        adapted = key not in self._excluded
        if adapted and self.l2:
            gradient += self.l2 * variable

        if self.classic_momentum:
            rate = learning_rate * self._trust_ratio(variable, gradient) if adapted else (
                learning_rate
            )  # fmt: skip
            # One pass over weight, buffer and gradient; without XLA each operation is one.
            tf.raw_ops.ResourceApplyMomentum(
                var=variable.handle,
                accum=momentum.handle,
                lr=tf.ones([], variable.dtype),
                grad=rate * gradient,
                momentum=tf.cast(self.momentum, variable.dtype),
                use_nesterov=self.nesterov,
            )
        else:
            momentum.assign(self.momentum * momentum + gradient)
            update = self.momentum * momentum + gradient if self.nesterov else momentum
            ratio = self._trust_ratio(variable, update) if adapted else 1.0
            variable.assign_sub(learning_rate * ratio * update)

    def _trust_ratio(self, variable, update):
        # Halves of the norms' squares, each in a single pass.
        weight, step = (tf.nn.l2_loss(tf.cast(each, tf.float32)) for each in (variable, update))
        ratio = tf.math.divide_no_nan(self.eeta * tf.sqrt(weight), tf.sqrt(step))
        usable = tf.logical_and(weight > 0, step > 0)
        return tf.cast(tf.where(usable, ratio, 1.0), variable.dtype)

    def get_config(self) -> Dict[str, Any]:
        """Returns the constructor's arguments."""
        return {
            **super().get_config(),
            "learning_rate": self._serialize_hyperparameter(self._learning_rate),
            "momentum": self.momentum,
            "nesterov": self.nesterov,
            "l2": self.l2,
            "classic_momentum": self.classic_momentum,
            "eeta": self.eeta,
            "excluded": self._exclusion.get_config(),
        }


def build_lars(
    config: OptimizationConfig, schedule: WarmupCosine, roles: VariableRoles
) -> keras.optimizers.Optimizer:
    """Builds LARS, which leaves out classifier, biases and batch norm."""
    return LARS(
        schedule,
        momentum=config.momentum,
        l2=config.weight_decay,
        excluded=roles.supervised + roles.biases + roles.batch_norm,
    )
