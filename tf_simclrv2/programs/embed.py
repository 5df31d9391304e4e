"""``embed``: representations of image files, by an export."""

import os
from typing import Any, Dict, List

import numpy as np

from tf_simclrv2.config import EmbedConfig
from tf_simclrv2.programs import command_line
from tf_simclrv2.programs.exported import ExportedModel
from tf_simclrv2.runtime.run_directory import write_whole


def run(values: Dict[str, Any]) -> None:
    """Writes an array float32 [images, dim] and, row by row, the images' paths.

    Args:
      values: the flags that were given.

    Raises:
      ConfigError: a setting that can't be used, or no image.
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
    print(f"{len(ids)} representations written to {config.output}")
    if config.projector:
        _write_projector(f"{stem}_projector", embeddings, ids, classes)


def _write_projector(
    directory: str, embeddings: np.ndarray, ids: List[str], classes: List[str]
) -> None:
    """Writes what TensorBoard's projector reads: a tensor, its metadata and where they are."""
    os.makedirs(directory, exist_ok=True)
    lines = ("\t".join(f"{value:.7g}" for value in row) for row in embeddings)
    write_whole(os.path.join(directory, "tensor.tsv"), "".join(f"{line}\n" for line in lines))
    # A header is expected where there is more than one column, and only there.
    rows = ids if not classes else ["image\tclass", *map("\t".join, zip(ids, classes))]
    write_whole(os.path.join(directory, "metadata.tsv"), "".join(f"{row}\n" for row in rows))
    write_whole(
        os.path.join(directory, "projector_config.pbtxt"),
        'embeddings {\n  tensor_name: "representation"\n  tensor_path: "tensor.tsv"\n'
        '  metadata_path: "metadata.tsv"\n}\n',
    )
    print(f"tensorboard --logdir={directory} shows them in its projector")
