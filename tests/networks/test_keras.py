"""What Keras does with a model works with encoder and network: save, load, clone, train on."""

import os
import pathlib
import subprocess
import sys

import numpy as np
import pytest

from tf_simclrv2.config import ConfigError, NetworkConfig, ProjectionHeadConfig
from tf_simclrv2.keras2 import keras, tf
from tf_simclrv2.networks.batch_norm import BatchNorm
from tf_simclrv2.networks.heads import ClassifierHead, ProjectionHead
from tf_simclrv2.networks.layers import Conv, ConvBatchNorm, SelectiveKernelConv, SqueezeExcite
from tf_simclrv2.networks.network import Network
from tf_simclrv2.networks.resnet import Block, Encoder, Shortcut, Stem
from tf_simclrv2.optimization.lars import LARS
from tf_simclrv2.optimization.schedules import WarmupCosine

ROOT = pathlib.Path(__file__).parents[2]
IMAGES = np.random.RandomState(0).uniform(size=(6, 8, 8, 3)).astype(np.float32)
LABELS = np.array([0, 1, 2, 0, 1, 2])
SMALL = NetworkConfig(18, 1 / 32, stem="cifar")
SELECTIVE = NetworkConfig(50, 1 / 32, sk_ratio=0.25, se_ratio=0.25, stem="imagenet")
HEAD = ProjectionHeadConfig(proj_out_dim=4)


def _with_other_weights(model, images=IMAGES):
    """The model with no weight left as it starts, so that a lost one shows."""
    model(images)
    for weight in model.weights:
        weight.assign_add(tf.random.stateless_uniform(weight.shape, [1, 2], maxval=0.1))
    return model


def _assert_same(outputs, others):
    for one, other in zip(tf.nest.flatten(outputs), tf.nest.flatten(others)):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-6)


def _encoder():
    return Encoder(resnet_depth=18, width_multiplier=1 / 32, image_size=8)


def _sequential():
    return keras.Sequential([_encoder(), keras.layers.Dense(3)])


def _functional():
    images = keras.Input((8, 8, 3))
    return keras.Model(images, keras.layers.Dense(3)(_encoder()(images)))


MODELS = {
    "encoder": _encoder,
    "network": lambda: Network(SMALL, HEAD, 3, probe=True),
    "cut network": lambda: Network(SELECTIVE, HEAD, 3, ft_proj_selector=1, zero_init_logits=True),
    "sequential": _sequential,
    "functional": _functional,
}


@pytest.mark.parametrize("name", MODELS)
def test_a_keras_file_keeps_model_and_weights(name, tmp_path):
    model = _with_other_weights(MODELS[name]())
    path = str(tmp_path / "model.keras")
    model.save(path)
    loaded = keras.models.load_model(path)
    assert type(loaded) is type(model)
    _assert_same(loaded(IMAGES), model(IMAGES))


# Keras finds by itself what is saved, and its optimizer, but not what is inside a Sequential.
@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "first"),
    [("network", ""), ("sequential", "from tf_simclrv2.networks.resnet import Encoder\n")],
)
def test_another_program_loads_it(name, first, tmp_path):
    model = _with_other_weights(MODELS[name]())
    model.compile(LARS(WarmupCosine(0.1, 2, 9)), "mse")
    path = str(tmp_path / "model.keras")
    model.save(path)
    package = keras.__name__.partition(".")[0]
    code = (
        f"import os; os.environ['TF_USE_LEGACY_KERAS'] = '1'\n{first}import {package} as keras\n"
        f"model = keras.models.load_model({path!r}); print(type(model.optimizer).__name__)"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    result = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True)
    assert (result.returncode, result.stdout.split()) == (0, [b"LARS"]), result.stderr


@pytest.mark.parametrize("name", MODELS)
def test_a_clone_is_the_same_model_with_weights_of_its_own(name):
    model = _with_other_weights(MODELS[name]())
    clone = keras.models.clone_model(model)
    assert type(clone) is type(model)
    clone(IMAGES)
    assert not {w.ref() for w in clone.weights} & {w.ref() for w in model.weights}
    clone.set_weights(model.get_weights())
    _assert_same(clone(IMAGES), model(IMAGES))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["network", "sequential"])
def test_a_saved_model_is_loaded_and_trains_on(name, tmp_path):
    model = _with_other_weights(MODELS[name]())
    model.compile(LARS(0.1), {"projection": "mse"} if name == "network" else "mse")
    model.save(str(tmp_path / "saved"), save_format="tf")
    loaded = keras.models.load_model(str(tmp_path / "saved"))
    assert type(loaded) is type(model)
    _assert_same(loaded(IMAGES), model(IMAGES))
    targets = np.ones([6, 4 if name == "network" else 3], np.float32)
    before = loaded.get_weights()
    loaded.fit(IMAGES, {"projection": targets} if name == "network" else targets, verbose=0)
    assert np.any(before[0] != loaded.get_weights()[0])


@pytest.mark.slow
def test_a_compiled_model_is_loaded_with_its_optimizers_state(tmp_path):
    model = _with_other_weights(_sequential())
    model.compile(LARS(WarmupCosine(0.1, 2, 9), l2=1e-4, excluded=[model.layers[-1]]),
                  keras.losses.SparseCategoricalCrossentropy(from_logits=True))  # fmt: skip
    model.fit(IMAGES, LABELS, verbose=0)
    model.save(str(tmp_path / "model.keras"))
    loaded = keras.models.load_model(str(tmp_path / "model.keras"))
    for each in (model, loaded):
        each.fit(IMAGES, LABELS, verbose=0, shuffle=False)
    _assert_same(loaded.weights, model.weights)
    _assert_same(loaded.optimizer.variables, model.optimizer.variables)


@pytest.mark.parametrize(
    "layer",
    [
        BatchNorm(decay=0.7, center=False, zero_gamma=True, synchronized=False),
        Conv(4, 3, strides=2),
        ConvBatchNorm(4, 3, 2, relu=False, zero_gamma=True, batch_norm={"decay": 0.7}),
        SelectiveKernelConv(4, 2, 0.25, {"synchronized": False}),
        SqueezeExcite(3, 2),
        Shortcut(4, 2, SELECTIVE),
        Block(2, 2, True, SELECTIVE),
        ClassifierHead(5, zero_init=True),
        Stem(SELECTIVE, name="first"),
        ProjectionHead(HEAD, SMALL, 3, layers_used=2),
    ],
    ids=lambda layer: type(layer).__name__,
)
def test_a_layer_is_made_again_from_its_config(layer, tmp_path):
    inputs = IMAGES[:, 0, 0] if isinstance(layer, (ClassifierHead, ProjectionHead)) else IMAGES
    symbols = keras.Input(inputs.shape[1:])
    model = keras.Model(symbols, layer(symbols))
    _with_other_weights(model, inputs)
    model.save(str(tmp_path / "model.keras"))
    loaded = keras.models.load_model(str(tmp_path / "model.keras"))
    assert loaded.layers[-1].get_config() == layer.get_config()
    _assert_same(loaded(inputs), model(inputs))
    moved = loaded(inputs, training=True)
    _assert_same(moved, model(inputs, training=True))
    _assert_same(loaded.weights, model.weights)


def test_what_is_frozen_or_recomputed_stays_so(tmp_path):
    model = Network(SMALL, HEAD, 3).build_for(8)
    model.encoder.freeze_through(2)
    model.encoder.rematerialize = True
    model.save(str(tmp_path / "model.keras"))
    for other in (
        keras.models.load_model(str(tmp_path / "model.keras")),
        keras.models.clone_model(model).build_for(8),
    ):
        assert other.encoder.rematerialize and other.encoder.frozen_through == 2
        assert len(other.trainable_variables) == len(model.trainable_variables)
        # Batch norm in what is frozen must not follow the batch.
        frozen = other.encoder.stem.batch_norm.moving_mean
        before = frozen.numpy()
        other(IMAGES, training=True)
        np.testing.assert_array_equal(frozen, before)


def test_a_frozen_model_stays_frozen():
    encoder = _encoder()
    encoder(IMAGES)
    encoder.trainable = False
    clone = keras.models.clone_model(encoder)
    clone(IMAGES)
    before = clone.get_weights()
    clone(IMAGES, training=True)
    _assert_same(clone.get_weights(), before)


def test_the_number_format_is_the_models_own(tmp_path):
    keras.mixed_precision.set_global_policy("mixed_bfloat16")
    encoder = _with_other_weights(_encoder())
    encoder.save(str(tmp_path / "model.keras"))
    keras.mixed_precision.set_global_policy("float32")
    for other in (
        keras.models.load_model(str(tmp_path / "model.keras")),
        Encoder(SMALL, dtype="mixed_bfloat16"),
    ):
        activations = other.endpoints(IMAGES)
        assert activations["block_group1"].dtype == tf.bfloat16
        assert activations["final_avg_pool"].dtype == tf.float32
        assert {weight.dtype for weight in other.weights} == {tf.float32}


def test_encoder_takes_a_config_or_its_fields():
    expected = NetworkConfig(50, sk_ratio=0.0625, se_ratio=0.25).resolved(224)
    for encoder in (
        Encoder(expected),
        Encoder(resnet_depth=50, sk_ratio=0.0625, se_ratio=0.25, image_size=224),
        Encoder(NetworkConfig(sk_ratio=0.0625), image_size=224, se_ratio=0.25),
        Encoder(sk_ratio=0.0625, se_ratio=0.25, stem="imagenet"),
    ):
        assert encoder.config == expected
    assert Encoder(resnet_depth=18, image_size=32, name="mine").name == "mine"


@pytest.mark.parametrize(
    ("arguments", "error", "sentence"),
    [
        ({"resnet_depth": 42, "image_size": 32}, ConfigError, "must be one of 18, 34, 50"),
        ({"width_multiplier": 0.3, "image_size": 32}, ConfigError, "even whole number"),
        ({"image_size": 4}, ConfigError, "--image_size=4: must be at least 8 for the cifar stem"),
        ({"resnet_depth": 18}, ValueError, "needs image_size to choose its first layers"),
        ({"resnet_dept": 18, "image_size": 32}, TypeError, "resnet_dept"),
    ],
)
def test_encoder_refuses_what_the_config_refuses(arguments, error, sentence):
    with pytest.raises(error, match=sentence):
        Encoder(**arguments)
