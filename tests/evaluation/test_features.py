"""Features of a whole split, on one device and on several."""

import subprocess
import sys
import textwrap

import numpy as np
import pytest

from tf_simclrv2.config import NetworkConfig, ProjectionHeadConfig
from tf_simclrv2.evaluation.features import features
from tf_simclrv2.keras2 import tf
from tf_simclrv2.networks.network import Network

RANDOM = np.random.RandomState(0)
IMAGES = RANDOM.uniform(size=(11, 8, 8, 3)).astype(np.float32)
LABELS = np.arange(11)


def _batches(batch_size):
    weights = (LABELS < 9).astype(np.float32)
    return tf.data.Dataset.from_tensor_slices(
        {"image": IMAGES, "label": LABELS, "weight": weights}
    ).batch(batch_size)


@pytest.fixture(scope="module")
def network():
    config = NetworkConfig(18, 0.0625, stem="cifar")
    return Network(config, ProjectionHeadConfig(proj_out_dim=4), probe=True).build_for(8)


@pytest.mark.parametrize("layer", ["final_avg_pool", "proj_layer_1", "proj_head_output"])
@pytest.mark.parametrize("jit_compile", [False, True])
def test_features_are_the_endpoint_of_each_image_that_counts(network, layer, jit_compile):
    found = features(network, _batches(4), layer, jit_compile=jit_compile)
    expected = network.endpoints(IMAGES[:9], training=False)[layer]
    np.testing.assert_allclose(found.values, expected, rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(found.labels, LABELS[:9])
    assert (found.values.dtype, found.labels.dtype) == (np.float32, np.int64)


def test_there_are_no_features_of_a_layer_that_is_not_there(network):
    with pytest.raises(ValueError, match=r"final_avg_pool, .*, but is proj_layer_9"):
        features(network, _batches(4), "proj_layer_9")


def test_replicas_have_the_same_features_together():
    """In a process of its own, since a CPU is split before TensorFlow starts."""
    program = """
    import numpy as np
    from tf_simclrv2.keras2 import tf
    cpu = tf.config.list_physical_devices("CPU")[0]
    tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
    strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])

    from tests.evaluation.test_features import IMAGES, _batches
    from tf_simclrv2.evaluation.features import features

    class Means:
        def endpoints(self, images, training):
            return {"final_avg_pool": tf.reduce_mean(images, axis=[1, 2])}

    # The last of the replicas' batches is shorter than the others.
    batches = strategy.experimental_distribute_dataset(_batches(4))
    found = features(Means(), batches, strategy=strategy)
    order = np.argsort(found.labels)
    np.testing.assert_array_equal(found.labels[order], np.arange(9))
    np.testing.assert_allclose(found.values[order], IMAGES[:9].mean(axis=(1, 2)), rtol=1e-6)
    print("the same")
    """
    result = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program)], capture_output=True, text=True
    )
    assert result.stdout == "the same\n", result.stderr
