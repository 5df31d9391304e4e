"""LARS, layer-wise adaptive rate scaling (You et al., arXiv:1708.03888)."""

from typing import Iterable, List, Union

from tf_simclrv2.keras2 import keras, tf


class LARS(keras.optimizers.Optimizer):
    """Momentum SGD whose step in each layer is scaled by the layer's own norm.

    The scale of a layer, its trust ratio, is ``eeta * |w| / |g + weight_decay * w|``. Which
    variables are decayed and scaled is told by the caller, variable by variable, so that nothing
    depends on names.

    Args:
      learning_rate: float or schedule.
      momentum: decay of the momentum buffer.
      nesterov: whether to look ahead.
      l2: weight decay, added to the gradient before the trust ratio is taken.
      classic_momentum: whether the learning rate is applied before momentum (classic) or after.
      eeta: the trust ratio's factor.
      excluded: variables that are neither decayed nor scaled: biases, batch norm, classifier.
    """

    def __init__(
        self,
        learning_rate: Union[float, keras.optimizers.schedules.LearningRateSchedule] = 0.3,
        momentum: float = 0.9,
        nesterov: bool = False,
        l2: float = 0.0,
        classic_momentum: bool = True,
        eeta: float = 0.001,
        excluded: Iterable[tf.Variable] = (),
        name: str = "LARS",
        **kwargs,
    ):
        super().__init__(name=name, jit_compile=False, **kwargs)
        self._learning_rate = self._build_learning_rate(learning_rate)
        self.momentum = momentum
        self.nesterov = nesterov
        self.l2 = l2
        self.classic_momentum = classic_momentum
        self.eeta = eeta
        self._excluded = {self._var_key(variable) for variable in excluded}

    def build(self, var_list: List[tf.Variable]) -> None:
        """Creates a momentum buffer for each variable."""
        super().build(var_list)
        if getattr(self, "_built", False):
            return
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
            step = learning_rate * gradient
            if adapted:
                step *= self._trust_ratio(variable, gradient)
            momentum.assign(self.momentum * momentum + step)
            update = self.momentum * momentum + step if self.nesterov else momentum
            variable.assign_sub(update)
        else:
            momentum.assign(self.momentum * momentum + gradient)
            update = self.momentum * momentum + gradient if self.nesterov else momentum
            ratio = self._trust_ratio(variable, update) if adapted else 1.0
            variable.assign_sub(learning_rate * ratio * update)

    def _trust_ratio(self, variable, update):
        weight_norm = tf.norm(tf.cast(variable, tf.float32))
        update_norm = tf.norm(tf.cast(update, tf.float32))
        ratio = tf.math.divide_no_nan(self.eeta * weight_norm, update_norm)
        usable = tf.logical_and(weight_norm > 0, update_norm > 0)
        return tf.cast(tf.where(usable, ratio, 1.0), variable.dtype)

    def get_config(self) -> dict:
        """Returns the constructor's arguments that are numbers."""
        return {
            **super().get_config(),
            "learning_rate": self._serialize_hyperparameter(self._learning_rate),
            "momentum": self.momentum,
            "nesterov": self.nesterov,
            "l2": self.l2,
            "classic_momentum": self.classic_momentum,
            "eeta": self.eeta,
        }
