"""Seconds to build each of the 13 networks of the paper's Table 1, each in a new process.

    python benchmarks/build.py [--only=r152_3x_sk]

Building is what a command does before it can train or restore: it constructs the layers and creates
all variables, including those of a projection head and a classifier of 1000 classes. Prints a line
of JSON for each network. Importing TensorFlow is not counted. What we measured: docs/fidelity.md.
"""

import argparse
import json
import os
import subprocess
import sys
import time

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
NETWORKS = {
    f"r{depth}_{width}x{'_sk' if sk_ratio else ''}": (depth, width, sk_ratio)
    for depth, width in ((50, 1), (50, 2), (101, 1), (101, 2), (152, 1), (152, 2), (152, 3))
    for sk_ratio in (0.0, 0.0625)
    if width < 3 or sk_ratio
}


def build(name: str) -> None:
    """Builds one network and prints how long that took."""
    from tf_simclrv2.config import NetworkConfig, ProjectionHeadConfig
    from tf_simclrv2.keras2 import tf
    from tf_simclrv2.networks.network import Network

    tf.zeros([])  # Starts TensorFlow's runtime.
    start, processor = time.time(), time.process_time()
    config = NetworkConfig(*NETWORKS[name], stem="imagenet")
    network = Network(config, ProjectionHeadConfig(), num_classes=1000, probe=True).build_for(224)
    seconds = {
        "seconds": round(time.time() - start, 1),
        "processor_seconds": round(time.process_time() - processor, 1),
    }
    parameters = sum(variable.shape.num_elements() for variable in network.trainable_variables)
    result = {"network": name, "trainable_parameters": parameters, **seconds}
    print(json.dumps(result), flush=True)


def main() -> None:
    """Builds all networks, or the one that the command line names."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--only", choices=NETWORKS)
    parser.add_argument("--here", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.here:
        build(options.only)
        return
    for name in [options.only] if options.only else NETWORKS:
        command = [sys.executable, __file__, f"--only={name}", "--here"]
        subprocess.run(command, env={**os.environ, "PYTHONPATH": ROOT}, check=True)


if __name__ == "__main__":
    main()
