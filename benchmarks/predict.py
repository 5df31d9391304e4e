"""Measures predict on a folder of photographs, against another checkout and the model alone.

Run from the project's root; DIRECTORY holds the other checkout, such as an earlier commit:

  git worktree add DIRECTORY COMMIT
  python -m benchmarks.predict --other=DIRECTORY

It exports a ResNet-18 with random weights and writes JPEG files of 500x375 pixels. The model alone
gets as many images that are ready, in batches of the same size. What decoding costs shows at small
sizes; ``--image_size=224`` shows a usual one.
"""

import argparse
import os
import tempfile
import time

import numpy as np
from PIL import Image

NUM_CLASSES, BATCH = 10, 32


def write_model(directory: str, size: int) -> None:
    """Exports a network with random weights for images of so many pixels."""
    from export.formats import saved_model
    from export.model import Model
    from tf_simclrv2.config import NetworkConfig, OptimizationConfig, ProjectionHeadConfig
    from tf_simclrv2.networks.network import Network

    config = NetworkConfig(resnet_depth=18).resolved(size)
    network = Network(config, ProjectionHeadConfig("none"), NUM_CLASSES).build_for(size)
    names = [f"class {number}" for number in range(NUM_CLASSES)]
    saved_model.write(Model(network, size, names, OptimizationConfig()), directory)


def write_images(directory: str, count: int) -> None:
    """Writes JPEG files of smooth noise, which are about as large as photographs."""
    random = np.random.RandomState(0)
    for number in range(count):
        small = Image.fromarray(random.randint(0, 255, [47, 63, 3], np.uint8))
        image = small.resize((500, 375), Image.Resampling.BICUBIC)
        image.save(os.path.join(directory, f"{number}.jpg"), quality=90)


def measure(saved_model: str, images: str, size: str) -> None:
    """Prints the images per second of predict and of the model alone, of the checkout on the path.

    Both have seen a batch before.
    """
    from tf_simclrv2.config.exported import ExportedModelConfig
    from tf_simclrv2.keras2 import tf
    from tf_simclrv2.programs.exported import ExportedModel

    model = ExportedModel(ExportedModelConfig(saved_model, images, batch_size=BATCH))
    alone = tf.saved_model.load(os.path.join(saved_model, "1")).signatures["serving_default"]
    ready = tf.random.stateless_uniform([BATCH, int(size), int(size), 3], [0, 1])
    alone(images=ready)
    next(iter(model.outputs("first")))
    start = time.perf_counter()
    count = sum(len(paths) for paths, _ in model.outputs("predict"))
    done = time.perf_counter()
    for _ in range(count // BATCH):
        alone(images=ready)["probabilities"].numpy()
    print(count / (done - start), count / (time.perf_counter() - done))


def main() -> None:
    """Runs what the command line asks for, and prints a table in Markdown."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--other", help="directory of another checkout")
    parser.add_argument("--image_size", type=int, default=96)
    parser.add_argument("--images", type=int, default=960)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--measure", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        measure(*options.measure)
        return
    from benchmarks.checkouts import in_turns

    with tempfile.TemporaryDirectory() as model, tempfile.TemporaryDirectory() as images:
        write_model(model, options.image_size)
        write_images(images, options.images)
        arguments = ["--measure", model, images, str(options.image_size)]
        medians = in_turns(__file__, arguments, options.other, options.rounds)
    print("| images per second | predict | the model alone | ratio |\n|---|--:|--:|--:|")
    for name, (predict, alone) in medians.items():
        print(f"| {name} | {predict:.0f} | {alone:.0f} | {predict / alone:.2f} |")


if __name__ == "__main__":
    main()
