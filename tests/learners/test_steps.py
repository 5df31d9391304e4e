"""The steps of the method and their networks."""

import pytest

from tf_simclrv2.config import (
    ContrastiveConfig,
    DataConfig,
    DistillationConfig,
    DistillConfig,
    FinetuneConfig,
    FineTuningConfig,
    NetworkConfig,
    PretrainConfig,
    ProjectionHeadConfig,
    RunConfig,
)
from tf_simclrv2.learners.steps import STEPS, build_network, step_of

SECTIONS = {
    "run": RunConfig(model_dir="unused"),
    "data": DataConfig(image_size=8),
    "network": NetworkConfig(18, 1 / 32, stem="cifar"),
}
HEAD = ProjectionHeadConfig(proj_out_dim=4)
CONFIGS = {
    "pretrain": PretrainConfig(**SECTIONS, projection_head=HEAD),
    "finetune": FinetuneConfig(
        **SECTIONS,
        projection_head=HEAD,
        fine_tuning=FineTuningConfig("x", ft_proj_selector=1, fine_tune_after_block=2),
    ),
    "distill": DistillConfig(**SECTIONS, distillation=DistillationConfig(teacher="x")),
}


def test_each_step_knows_its_config_and_no_other():
    assert list(STEPS) == list(CONFIGS)
    for name, config in CONFIGS.items():
        assert step_of(config) is STEPS[name]
        assert STEPS[name].name == name and isinstance(config, STEPS[name].config)
        assert STEPS[name].words.startswith("step ")
    with pytest.raises(TypeError, match="No network belongs to a DataConfig"):
        step_of(SECTIONS["data"])


@pytest.mark.parametrize(
    ("name", "layers", "frozen", "classifies"),
    [("pretrain", 3, -1, True), ("finetune", 1, 2, True), ("distill", 0, -1, True)],
)
def test_each_step_has_its_network(name, layers, frozen, classifies):
    network = STEPS[name].declare_network(CONFIGS[name], 5)
    assert not network.built
    assert len(network.projection_head.projections) == layers
    assert network.encoder.frozen_through == frozen
    assert network.supervised_head.dense.units == 5
    assert network.probe == (name == "pretrain")


def test_pretraining_without_labels_or_probe_has_no_classifier():
    assert build_network(CONFIGS["pretrain"], None).supervised_head is None
    contrastive = ContrastiveConfig(lineareval_while_pretraining=False)
    config = PretrainConfig(**SECTIONS, contrastive=contrastive, projection_head=HEAD)
    assert build_network(config, 5).supervised_head is None
