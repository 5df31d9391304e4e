"""``embed``: computes representations of image files with an export."""

import logging
import os
from typing import List, Mapping

import numpy as np

from tf_simclrv2.config import EmbedConfig
from tf_simclrv2.programs import command_line, projector
from tf_simclrv2.programs.exported import ExportedModel
from tf_simclrv2.runtime.run_directory import write_whole

logger = logging.getLogger(__name__)


def run(values: Mapping[str, object]) -> None:
    """Writes an array float32 [images, dim] and, row by row, the images' paths.

    Args:
      values: the flags that were given.

    Raises:
      ConfigError: a setting can't be used, or no image can be read.
    """
    config = command_line.build(EmbedConfig, values).embedding
    model = ExportedModel(config, config.output)
    ids: List[str] = []
    classes: List[str] = []
    batches: List[np.ndarray] = []
    for paths, outputs in model.outputs("embed"):
        ids += paths
        batches.append(outputs["representation"])
        if model.class_names is not None:
            classes += [model.class_names[index] for index in outputs["classes"]]
    embeddings = np.concatenate(batches)
    stem = config.output[: -len(".npy")]
    write_whole(f"{stem}_ids.txt", "".join(f"{path}\n" for path in ids))
    with open(f"{config.output}.tmp", "wb") as file:
        np.save(file, embeddings)
    os.replace(f"{config.output}.tmp", config.output)
    logger.info("%d representations written to %s", len(ids), config.output)
    if config.projector:
        directory = f"{stem}_projector"
        projector.write(directory, embeddings, ids, classes)
        logger.info("tensorboard --logdir=%s shows them in its projector", directory)
