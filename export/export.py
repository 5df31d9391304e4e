"""``export``: from a run directory to an export directory."""

import logging
import os
from typing import Dict, Iterator

from tf_simclrv2.networks.network import Network
from tf_simclrv2.programs import command_line
from tf_simclrv2.progress import bar
from tf_simclrv2.runtime import calibration_file
from tf_simclrv2.runtime.checkpoint import Checkpoint

from . import directory, formats
from .config import ExportConfig, ExportSection
from .folding import fold_batch_norm
from .model import Model
from .model_card import Subject, model_card

# By its name in the library, which it has only where it is installed.
logger = logging.getLogger("tf_simclrv2.export")


def run(values: Dict[str, object]) -> None:
    """Exports a run.

    Args:
      values: the flags that were given.

    Raises:
      ConfigError: a setting that can't be used.
    """
    export(command_line.build(ExportConfig, values).export)


def export(config: ExportSection) -> None:
    """Exports a run.

    Args:
      config: which run, where to, and as what.

    Raises:
      ConfigError: there is no such run, or the directory can't be written.
    """
    assert config.model_dir is not None and config.export_dir is not None
    checkpoint = Checkpoint.open(config.model_dir, "model_dir")
    if config.use_ema_weights:
        checkpoint.check_memory()
    directory.check(config.export_dir, config.overwrite)
    network, source = checkpoint.restore_network(config.use_ema_weights), checkpoint.run
    calibration = None
    if network.supervised_head is not None and not config.use_ema_weights:
        calibration = calibration_file.read(source.path, checkpoint.step)
    # Before folding, since a card shows the network as it was trained.
    card = model_card(Subject(source, network, checkpoint.step, calibration), config)
    model = Model(
        network,
        source.config.data.resolved_image_size,
        source.class_names if network.supervised_head is not None else None,
        source.config.optimization,
        source.config.data.max_image_pixels,
        source.config.data.cache_max_side,
        calibration,
    )
    with directory.replacing(config.export_dir, config.overwrite, _size(network, config)) as new:
        with bar(len(config.chosen_formats), "exporting", "format") as shown:
            for name in _in_turn(network, config):
                shown.set_description(f"exporting {name}", refresh=False)
                formats.load(name).write(model, new)
                shown.update()
        with open(os.path.join(new, directory.CARD), "wb") as file:
            # Paths that it names may hold bytes that are no UTF-8.
            file.write(card.encode("utf-8", "backslashreplace"))
    logger.info("%s exported to %s", source.path, config.export_dir)


def _in_turn(network: Network, config: ExportSection) -> Iterator[str]:
    """The formats in the order in which they are written; folds the network before the last."""
    folded = config.folded_formats
    yield from (name for name in config.chosen_formats if name not in folded)
    if folded:
        fold_batch_norm(network)
    yield from folded


def _size(network: Network, config: ExportSection) -> int:
    """About how many bytes an export has, as far as its weights make them up."""
    weights = sum(v.shape.num_elements() * v.dtype.size for v in network.variables)
    return int(weights * sum(formats.FORMATS[name].copies for name in config.chosen_formats))
