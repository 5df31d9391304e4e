"""What an optimizer leaves out: named by the caller, found again when a saved model is loaded."""

from typing import Any, Callable, Dict, Iterable, List, Mapping, Optional, Sequence, Union

from tf_simclrv2.keras2 import keras, registered, tf, variable_key

_Part = Union[tf.Variable, keras.layers.Layer]
Excluded = Union[Callable[[tf.Variable], bool], _Part, Iterable[_Part], Mapping[str, Any]]


@registered
def is_bias_or_norm(variable: tf.Variable) -> bool:
    """Whether a variable is a bias, or a scale or offset of normalisation: those are vectors."""
    return variable.shape.rank < 2


class Exclusion:
    """Chooses those of an optimizer's variables that it leaves out.

    Args:
      given: a function of a variable; a variable, a layer, or several of both; or what
        :meth:`get_config` returned.
    """

    def __init__(self, given: Excluded):
        if isinstance(given, Mapping) and "class_name" in given:
            given = keras.saving.deserialize_keras_object(given)
        elif isinstance(given, (tf.Variable, keras.layers.Layer)):
            given = [given]
        elif not callable(given) and not isinstance(given, Mapping):
            given = list(given)
        self._given = given
        self._chosen: Optional[Dict[str, Any]] = None

    def choose(self, variables: Sequence[tf.Variable]) -> List[tf.Variable]:
        """Returns those of the variables that are excluded, and remembers their positions.

        Args:
          variables: all that the optimizer trains.

        Raises:
          ValueError: they are not those of the model that was saved.
        """
        positions = self._positions(variables)
        self._chosen = {"positions": positions, "trained": len(variables)}
        return [variables[position] for position in positions]

    def _positions(self, variables):
        if callable(self._given):
            return [index for index, each in enumerate(variables) if self._given(each)]
        if not isinstance(self._given, Mapping):
            excluded = {variable_key(variable) for variable in self._variables()}
            return [index for index, each in enumerate(variables) if variable_key(each) in excluded]
        if "positions" in self._given:
            if len(variables) != self._given["trained"]:
                raise ValueError(
                    f"The optimizer was saved with {self._given['trained']} trained variables, and "
                    f"what it excludes by their positions, but is to train {len(variables)}."
                )
            return list(self._given["positions"])
        names = [variable.name for variable in variables]
        for name in self._given["names"]:
            if names.count(name) != 1:
                raise ValueError(
                    "The optimizer was saved before it had met its variables, and what it excludes "
                    f"by their names, but {names.count(name)} of them are called {name}."
                )
        return [index for index, name in enumerate(names) if name in self._given["names"]]

    def get_config(self) -> Dict[str, Any]:
        """Returns what the constructor takes to choose the same, in types that JSON has."""
        if callable(self._given):
            return keras.saving.serialize_keras_object(self._given)
        if self._chosen is not None:
            return self._chosen
        if isinstance(self._given, Mapping):
            return dict(self._given)
        return {"names": [variable.name for variable in self._variables()]}

    def _variables(self) -> List[tf.Variable]:
        assert not callable(self._given)
        return [
            variable
            for part in self._given
            for variable in (part.variables if isinstance(part, keras.layers.Layer) else [part])
        ]
