"""The examples in docstrings run."""

import inspect
import re
import textwrap

import numpy as np
import pytest

from tf_simclrv2 import config
from tf_simclrv2.keras2 import keras, tf
from tf_simclrv2.learners.learner import Learner
from tf_simclrv2.learners.memory import PretrainerWithMemory
from tf_simclrv2.learners.moving_average import MovingAverage
from tf_simclrv2.learners.pretrainer import Pretrainer
from tf_simclrv2.networks.network import Network, variable_roles
from tf_simclrv2.networks.resnet import Encoder
from tf_simclrv2.objectives.contrastive import nt_xent
from tf_simclrv2.optimization.lars import LARS
from tf_simclrv2.optimization.schedules import WarmupCosine

PUBLIC = {
    each.__name__: each
    for each in (
        Encoder, LARS, Learner, MovingAverage, Network, Pretrainer, PretrainerWithMemory,
        WarmupCosine, nt_xent, variable_roles,
    )
}  # fmt: skip


def _given():
    """What the examples leave to the reader."""
    images = np.random.RandomState(0).uniform(size=(4, 32, 32, 3)).astype(np.float32)
    views = {"view_1": images, "view_2": images[::-1].copy()}
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(2, name="classifier")])
    small = config.NetworkConfig(18, 1 / 32, stem="cifar")
    network = Network(small, config.ProjectionHeadConfig()).build_for(32)
    return {
        **PUBLIC,
        **{name: getattr(config, name) for name in dir(config) if name.endswith("Config")},
        "keras": keras,
        "tf": tf,
        "images": images,
        "batches": tf.data.Dataset.from_tensors(views),
        "model": model,
        "network": network,
        "step": tf.constant(1),
        "config": small,
        "head": config.ProjectionHeadConfig(),
    }


@pytest.mark.parametrize("name", PUBLIC)
def test_the_example_runs(name):
    code = re.search(r"```python\n(.*?)```", inspect.getdoc(PUBLIC[name]), re.DOTALL).group(1)
    code = textwrap.dedent(code).replace("epochs=100", "epochs=1")
    exec(compile(code, name, "exec"), _given())
