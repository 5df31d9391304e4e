"""What Keras does with a model works with a learner: evaluate, predict, save, load, clone."""

import numpy as np
import pytest

from tf_simclrv2.config import (
    ContrastiveConfig,
    DistillationConfig,
    MemoryConfig,
    NetworkConfig,
    OptimizationConfig,
    ProjectionHeadConfig,
)
from tf_simclrv2.keras2 import keras, tf
from tf_simclrv2.learners.classifier import Classifier
from tf_simclrv2.learners.distiller import Distiller
from tf_simclrv2.learners.memory import PretrainerWithMemory
from tf_simclrv2.learners.pretrainer import Pretrainer
from tf_simclrv2.networks.network import Network
from tf_simclrv2.optimization.optimizers import build_optimizer, build_schedule

IMAGES, OTHERS = np.random.RandomState(0).uniform(size=(2, 6, 8, 8, 3)).astype(np.float32)
LABELS = np.array([0, 1, 2, 0, 1, 2])
VIEWS = {"view_1": IMAGES, "view_2": OTHERS, "label": LABELS}
LABELLED = {"image": IMAGES, "label": LABELS}
CASES = ["pretrain", "memory", "classify", "distill"]


def _network(**arguments):
    config = NetworkConfig(18, 1 / 32, stem="cifar")
    network = Network(config, ProjectionHeadConfig(proj_out_dim=4), 3, **arguments).build_for(8)
    for variable in network.trainable_variables:
        # Residual branches start from a scale of 0, behind which no gradient would show.
        variable.assign_add(tf.random.stateless_normal(variable.shape, [2, 1], stddev=0.1))
    return network


def _learner(case, optimizer="lars"):
    keras.utils.set_random_seed(0)
    optimization = OptimizationConfig(
        train_batch_size=6, optimizer=optimizer, weight_decay=1e-3, train_steps=9, warmup_epochs=0
    )
    contrastive = ContrastiveConfig(temperature=0.5)
    if case == "pretrain":
        learner = Pretrainer(_network(probe=True), contrastive, optimization)
    elif case == "memory":
        networks, memory = (_network(), _network()), MemoryConfig(use_memory=True, memory_size=20)
        learner = PretrainerWithMemory(*networks, contrastive, memory, optimization)
    elif case == "classify":
        network = _network(ft_proj_selector=1)
        network.encoder.freeze_through(1)
        learner = Classifier(network, optimization)
    else:
        config = DistillationConfig(teacher="x", distillation_alpha=0.5)
        learner = Distiller(_network(), _network(ft_proj_selector=1), config, optimization)
    schedule = build_schedule(optimization, 6)
    learner.compile(build_optimizer(optimization, schedule, learner.roles))
    return learner


def _batch(case):
    if case in ("pretrain", "memory"):
        return VIEWS
    return {**LABELLED, "labelled_image": OTHERS} if case == "distill" else LABELLED


def _batches(case):
    return tf.data.Dataset.from_tensors(_batch(case))


def _variables(learner):
    """All variables but those of metrics."""
    of_metrics = {variable.ref() for metric in learner.metrics for variable in metric.variables}
    return [variable for variable in learner.variables if variable.ref() not in of_metrics]


def _state(learner):
    return [*_variables(learner), *learner.optimizer.variables]


def _assert_same(learner, other):
    state, others = _state(learner), _state(other)
    assert len(state) == len(others)
    for one, another in zip(state, others):
        np.testing.assert_allclose(one, another, rtol=1e-5, atol=1e-6, err_msg=one.name)


@pytest.mark.parametrize("case", CASES)
def test_evaluate_gives_the_losses_and_changes_nothing(case):
    learner = _learner(case)
    learner.fit(_batches(case), verbose=0)
    before = [variable.numpy() for variable in _variables(learner)]
    results = learner.evaluate(_batches(case), verbose=0, return_dict=True)
    loss, logged = learner.losses_of({k: tf.constant(v) for k, v in _batch(case).items()}, False)
    assert list(results) == ["loss", "weight_decay", *learner.logged]
    for name, value in logged.items():
        assert results[name] == pytest.approx(float(value), rel=1e-4), name
    assert results["loss"] == pytest.approx(float(loss) + results["weight_decay"], rel=1e-4)
    for old, new in zip(before, _variables(learner)):
        np.testing.assert_array_equal(old, new)
    history = learner.fit(_batches(case), validation_data=_batches(case), verbose=0).history
    assert np.isfinite(history["val_loss"]).all()


@pytest.mark.parametrize("case", ["pretrain", "classify"])
def test_predict_gives_the_networks_outputs_of_images_and_of_batches(case):
    learner = _learner(case)
    expected = learner.network(IMAGES, training=False)
    pixels = np.round(IMAGES * 255).astype(np.uint8)
    for outputs, tolerance in (
        (learner.predict(IMAGES, verbose=0), 1e-5),
        (learner.predict(_batches(case), verbose=0), 1e-5),
        (learner.predict(pixels, verbose=0), 0.05),
    ):
        assert outputs.keys() == expected.keys()
        for name, value in expected.items():
            np.testing.assert_allclose(outputs[name], value, tolerance, tolerance, err_msg=name)


@pytest.mark.slow
def test_arrays_and_pairs_of_images_and_labels_are_batches_too():
    losses = []
    for data in ((_batches("classify"),), (LABELLED,), (IMAGES, LABELS)):
        learner = _learner("classify")
        learner.fit(*data, batch_size=None if len(data) == 1 and data[0] is not LABELLED else 6,
                    shuffle=False, verbose=0)  # fmt: skip
        losses.append(learner.evaluate(IMAGES, LABELS, verbose=0)[0])
    np.testing.assert_allclose(losses, losses[0], rtol=1e-5)


@pytest.mark.parametrize(
    ("case", "optimizer"),
    [
        ("classify", "lars"),
        *(
            pytest.param(case, optimizer, marks=pytest.mark.slow)
            for case in CASES
            for optimizer in ("lars", "adam")
            if (case, optimizer) != ("classify", "lars")
        ),
    ],
)
def test_a_learner_saved_by_model_checkpoint_is_loaded_whole_and_trains_on(
    case, optimizer, tmp_path
):
    path = str(tmp_path / "learner.keras")
    learner = _learner(case, optimizer)
    learner.fit(_batches(case), verbose=0, callbacks=[keras.callbacks.ModelCheckpoint(path)])
    loaded = keras.models.load_model(path)
    assert type(loaded) is type(learner)
    _assert_same(learner, loaded)
    for each in (learner, loaded):
        each.fit(_batches(case), verbose=0)
    _assert_same(learner, loaded)


@pytest.mark.slow
@pytest.mark.parametrize("case", ["pretrain", "memory"])
def test_a_saved_model_of_a_learner_is_loaded_and_trains_on(case, tmp_path):
    learner = _learner(case)
    learner.fit(_batches(case), verbose=0)
    learner.save(str(tmp_path / "saved"), save_format="tf")
    loaded = keras.models.load_model(str(tmp_path / "saved"))
    assert type(loaded) is type(learner)
    for one, other in zip(_variables(learner), _variables(loaded)):
        np.testing.assert_array_equal(one, other, err_msg=one.name)
    loaded.fit(_batches(case), verbose=0)


@pytest.mark.parametrize("case", CASES)
def test_a_clone_has_the_same_parts_and_trains(case):
    learner = _learner(case)
    clone = keras.models.clone_model(learner)
    assert type(clone) is type(learner)
    assert clone.get_config() == learner.get_config()
    shapes = [variable.shape for variable in learner.trainable_variables]
    assert [variable.shape for variable in clone.trainable_variables] == shapes
    clone.compile("sgd")
    clone.fit(_batches(case), verbose=0)


def test_pretraining_takes_any_model_that_maps_images_to_vectors():
    network, average = (
        keras.Sequential([keras.Input((8, 8, 3)), keras.layers.Flatten(), keras.layers.Dense(4)])
        for _ in range(2)
    )
    memory = MemoryConfig(use_memory=True, memory_size=20)
    optimization = OptimizationConfig(optimizer="momentum")
    for learner in (
        Pretrainer(network, ContrastiveConfig(), optimization),
        PretrainerWithMemory(network, average, ContrastiveConfig(), memory, optimization),
    ):
        learner.compile("sgd")
        before = network.get_weights()[0]
        learner.fit(_batches("pretrain"), verbose=0)
        assert np.any(network.get_weights()[0] != before)
        assert learner.predict(IMAGES, verbose=0).shape == (6, 4)
