"""``predict``: class names and probabilities of image files, from an exported SavedModel."""

import csv
import glob
import os
from typing import Any, Dict, List

from tqdm import tqdm

from tf_simclrv2.config import ConfigError, PredictConfig, refuse
from tf_simclrv2.data.sources import IMAGE_SUFFIXES
from tf_simclrv2.keras2 import tf
from tf_simclrv2.programs import command_line


def run(values: Dict[str, Any]) -> None:
    """Predicts image files and writes a CSV: a row per image, a column per class.

    Args:
      values: the flags that were given.

    Raises:
      ConfigError: a setting that can't be used, or no image.
    """
    config = command_line.build(PredictConfig, values).prediction
    paths = find_images(config.images)
    if not os.path.isfile(os.path.join(config.saved_model, "saved_model.pb")):
        raise refuse("saved_model", config.saved_model, "must be a directory with a saved_model.pb")
    folder = os.path.dirname(os.path.abspath(config.output))
    if not os.path.isdir(folder):
        raise refuse("output", config.output, f"the directory {folder} must exist")

    model = tf.saved_model.load(config.saved_model)
    if "serving_bytes" not in model.signatures:
        raise refuse(
            "saved_model", config.saved_model, "must have the signature serving_bytes of our export"
        )
    predict = model.signatures["serving_bytes"]
    class_names = _class_names(config.saved_model)
    rows = []
    for start in tqdm(range(0, len(paths), config.batch_size), desc="predict", unit="batch"):
        batch = paths[start : start + config.batch_size]
        contents = tf.constant([tf.io.read_file(path).numpy() for path in batch])
        try:
            outputs = predict(contents)
        except tf.errors.InvalidArgumentError as error:
            raise ConfigError(
                f"--images={config.images}: one of {batch[0]} to {batch[-1]} is no readable image "
                f"({str(error).splitlines()[0][:200]})."
            ) from error
        if "probabilities" not in outputs:
            raise refuse("saved_model", config.saved_model, "must be the export of a classifier")
        for path, probabilities in zip(batch, outputs["probabilities"].numpy()):
            best = class_names[int(probabilities.argmax())]
            rows.append([path, best, *(f"{probability:.6f}" for probability in probabilities)])
    with open(f"{config.output}.tmp", "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["image", "class", *class_names])
        writer.writerows(rows)
    os.replace(f"{config.output}.tmp", config.output)
    print(f"{len(rows)} predictions written to {config.output}")


def find_images(images: str) -> List[str]:
    """Lists image files.

    Args:
      images: files, folders (searched through) or globs, separated by commas.

    Raises:
      ConfigError: there are none.
    """
    paths: List[str] = []
    for part in images.split(","):
        if os.path.isdir(part):
            found = [os.path.join(base, name) for base, _, names in os.walk(part) for name in names]
            paths += sorted(path for path in found if path.lower().endswith(IMAGE_SUFFIXES))
        else:
            paths += sorted(path for path in glob.glob(part) if os.path.isfile(path))
    if not paths:
        suffixes = ", ".join(IMAGE_SUFFIXES)
        raise refuse("images", images, f"must name at least one image file ({suffixes})")
    return paths


def _class_names(saved_model: str) -> List[str]:
    with open(os.path.join(saved_model, "assets", "class_names.txt"), encoding="utf-8") as file:
        return file.read().splitlines()
