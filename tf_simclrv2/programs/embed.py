"""``embed``: computes representations of image files with an export."""

import dataclasses
import logging
import os
from typing import Dict, List, Mapping

import numpy as np

from tf_simclrv2.config import EmbedConfig
from tf_simclrv2.config.user_files import printable
from tf_simclrv2.data.label_table import read_labels
from tf_simclrv2.programs import command_line, projector
from tf_simclrv2.programs.exported import ExportedModel, check_output
from tf_simclrv2.runtime.disk import writing
from tf_simclrv2.runtime.files import whole_file, write_whole

logger = logging.getLogger(__name__)


def run(values: Mapping[str, object]) -> None:
    """Writes an array float32 [images, dim] and, row by row, the images' paths.

    Args:
      values: the flags that were given.

    Raises:
      ConfigError: a setting can't be used, or no image can be read.
    """
    config = command_line.build(EmbedConfig, values).embedding
    config = dataclasses.replace(config, output=os.path.expanduser(config.output))
    stem = config.output[: -len(".npy")]
    ids_file, directory = f"{stem}_ids.txt", f"{stem}_projector"
    check_output(config.output, ids_file)
    if config.projector:
        projector.check(directory, config.output)
    table = read_labels(config.labels) if config.labels else None
    model = ExportedModel(config)
    label_of: Dict[str, str] = {}
    if table is not None:
        label_of = projector.labels_of_table(model.paths, str(config.images), table)
    elif config.projector:
        label_of = projector.labels_of(model.paths, model.class_names)
    ids: List[str] = []
    classes: List[str] = []
    batches: List[np.ndarray] = []
    for paths, outputs in model.outputs("embed"):
        ids += paths
        batches.append(outputs["representation"])
        if model.class_names is not None:
            classes += [model.class_names[index] for index in outputs["classes"]]
    embeddings = np.concatenate(batches)
    with writing("output", config.output, embeddings.nbytes):
        write_whole(ids_file, "".join(f"{printable(path)}\n" for path in ids))
        with whole_file(config.output) as file:
            np.save(file, embeddings)
    logger.info("%d representations written to %s", len(ids), config.output)
    if config.projector:
        with writing("output", directory):
            labels = [label_of.get(path, "") for path in ids]
            projector.write(directory, embeddings, ids, classes, labels if any(labels) else ())
        logger.info("tensorboard --logdir=%s shows them in its projector", directory)
