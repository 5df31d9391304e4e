"""Optimizers and schedules as Keras saves them, and what LARS excludes, which has to be kept."""

import numpy as np
import pytest

from tf_simclrv2.keras2 import keras, registered, tf
from tf_simclrv2.optimization.lars import LARS
from tf_simclrv2.optimization.schedules import WarmupCosine


@registered
def is_first(variable):
    """A rule of one's own."""
    return "first" in variable.name


def _variables():
    """A kernel, a bias, a kernel; their names are those of another model's."""
    return [
        tf.Variable(tf.fill([2, 2], 2.0), name="first"),
        tf.Variable(tf.fill([2], 2.0), name="second"),
        tf.Variable(tf.fill([3, 1], 2.0), name="third"),
    ]


def _is_adapted(optimizer, variables):
    """Which variables take a step that is scaled, a thousandth of their norm and learning rate."""
    optimizer.apply_gradients([(tf.ones_like(variable), variable) for variable in variables])
    moved = [float(2.0 - variable.numpy().ravel()[0]) for variable in variables]
    assert all(step == pytest.approx(1.0) or 0 < step < 0.01 for step in moved)
    return [step < 0.01 for step in moved]


def _layer(variables):
    layer = keras.layers.Layer()
    layer.one, layer.other = variables
    return layer


EXCLUDED = {
    "vectors by default": (lambda v: {}, [True, False, True]),
    "nothing": (lambda v: {"excluded": ()}, [True, True, True]),
    "a variable": (lambda v: {"excluded": v[2]}, [True, True, False]),
    "variables": (lambda v: {"excluded": (each for each in v[:2])}, [False, False, True]),
    "a layer": (lambda v: {"excluded": _layer(v[1:])}, [True, False, False]),
    "layers and variables": (lambda v: {"excluded": [_layer(v[1:]), v[0]]}, [False] * 3),
    "a rule": (lambda v: {"excluded": is_first}, [False, True, True]),
}


@pytest.mark.parametrize("given", EXCLUDED)
def test_lars_leaves_out_what_it_is_told_and_a_copy_does_too(given):
    make, adapted = EXCLUDED[given]
    variables = _variables()
    optimizer = LARS(1.0, momentum=0.0, **make(variables))
    unbuilt = LARS.from_config(optimizer.get_config())
    assert _is_adapted(unbuilt, _variables()) == adapted
    assert _is_adapted(optimizer, variables) == adapted
    for copy in (
        LARS.from_config(optimizer.get_config()),
        keras.optimizers.deserialize(keras.optimizers.serialize(optimizer)),
        LARS.from_config(LARS.from_config(optimizer.get_config()).get_config()),
    ):
        # Those of a model that is loaded have other names.
        others = [tf.Variable(variable, name="first") for variable in _variables()]
        if given != "a rule":
            assert _is_adapted(copy, others) == adapted


def test_variables_that_are_not_those_of_the_saved_model_are_refused():
    optimizer = LARS(excluded=[_variables()[0]])
    unbuilt = LARS.from_config(optimizer.get_config())
    with pytest.raises(ValueError, match="but 2 of them are called first"):
        unbuilt.build([_variables()[0], _variables()[0]])
    optimizer.build(_variables())
    with pytest.raises(ValueError, match=r"saved with 3 trained variables.* is to train 2"):
        LARS.from_config(optimizer.get_config()).build(_variables()[:2])


def test_a_copy_of_lars_has_all_its_settings():
    settings = {
        "learning_rate": 0.2,
        "momentum": 0.8,
        "nesterov": True,
        "l2": 0.01,
        "classic_momentum": False,
        "eeta": 0.002,
        "name": "mine",
        "clipnorm": 3.0,
    }
    config = keras.optimizers.deserialize(
        keras.optimizers.serialize(LARS(**settings, excluded=is_first))
    ).get_config()
    for name, value in settings.items():
        assert config[name] == pytest.approx(value) if name != "name" else "mine", name


def test_a_copy_of_the_schedule_gives_the_same_rates():
    schedule = WarmupCosine(peak=2.0, warmup_steps=4, total_steps=12)
    for copy in (
        WarmupCosine.from_config(schedule.get_config()),
        keras.optimizers.schedules.deserialize(keras.optimizers.schedules.serialize(schedule)),
        LARS.from_config(LARS(schedule).get_config())._learning_rate,
    ):
        assert type(copy) is WarmupCosine
        rates = [[float(each(step)) for step in range(14)] for each in (copy, schedule)]
        np.testing.assert_array_equal(*rates)
