"""The steps of the method, a row each: what configures a step, and which network it trains."""

from typing import Callable, Dict, NamedTuple, Optional, Type, Union

from tf_simclrv2.config import (
    DistillConfig,
    FinetuneConfig,
    PretrainConfig,
    ProjectionHeadConfig,
)
from tf_simclrv2.networks.network import Network

StepConfig = Union[PretrainConfig, FinetuneConfig, DistillConfig]


class Step(NamedTuple):
    """One step of the method.

    Attributes:
      name: the command that runs it.
      config: the class of its config.
      declare_network: maps a config, its stem resolved, and the number of classes, or None without
        labels, to the network, which has no variables yet.
      words: what a model card says of it.
    """

    name: str
    config: Type[StepConfig]
    declare_network: Callable[..., Network]
    words: str


def _network_to_pretrain(config: PretrainConfig, num_classes: Optional[int]) -> Network:
    contrastive = config.contrastive
    return Network(
        config.network,
        config.projection_head,
        num_classes if contrastive.lineareval_while_pretraining else None,
        contrastive.ft_proj_selector,
        probe=True,
    )


def _network_to_finetune(config: FinetuneConfig, num_classes: Optional[int]) -> Network:
    network = Network(
        config.network,
        config.projection_head,
        num_classes,
        config.fine_tuning.ft_proj_selector,
        zero_init_logits=config.fine_tuning.zero_init_logits_layer,
    )
    network.encoder.freeze_through(config.fine_tuning.fine_tune_after_block)
    return network


def _network_to_distill(config: DistillConfig, num_classes: Optional[int]) -> Network:
    return Network(config.network, ProjectionHeadConfig("none"), num_classes)


_STEPS = (
    Step(
        name="pretrain",
        config=PretrainConfig,
        declare_network=_network_to_pretrain,
        words="step 1, contrastive pretraining without labels",
    ),
    Step(
        name="finetune",
        config=FinetuneConfig,
        declare_network=_network_to_finetune,
        words="step 2, fine-tuning of a pretrained network on labels",
    ),
    Step(
        name="distill",
        config=DistillConfig,
        declare_network=_network_to_distill,
        words="step 3, distillation of a fine-tuned teacher with unlabelled images",
    ),
)
STEPS: Dict[str, Step] = {step.name: step for step in _STEPS}
# What a fine-tuning run with --head_start=ridge is before its first step: `probe` writes such runs.
SOLVED = "step 1 and ridge regression of the labels on its frozen features"


def step_of(config: StepConfig) -> Step:
    """Returns the step that a config belongs to.

    Raises:
      TypeError: it belongs to none.
    """
    for step in _STEPS:
        if isinstance(config, step.config):
            return step
    raise TypeError(f"No network belongs to a {type(config).__name__}.")


def build_network(config: StepConfig, num_classes: Optional[int]) -> Network:
    """Builds the network of a run, with random weights and all its variables.

    Args:
      config: the run's config, with a resolved stem.
      num_classes: classes of the data, or None without labels.

    Raises:
      TypeError: the config is of another kind.
    """
    network = step_of(config).declare_network(config, num_classes)
    return network.build_for(config.data.resolved_image_size)
