"""Measures memory and time of ``convert`` on the paper's largest model, ResNet-152 (3x, SK).

    python benchmarks/convert.py [--resnet_depth=152 --width_multiplier=3 --sk_ratio=0.0625]

Writes a TF2 checkpoint with the authors' keys (3.5 GB) to a temporary directory, converts it to a
run directory, and converts that back to a checkpoint. Each conversion is the command that users
run, in a separate process, and prints a line of JSON with the process's peak of resident memory.
Needs 8 GB of memory and 11 GB of disk. What we measured: docs/fidelity.md.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
import zlib

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))


def write_checkpoint(path: str, depth: int, width: float, sk_ratio: float) -> None:
    """Writes a pretrained network with a classifier of 1000 classes, with weights by its names."""
    import numpy as np

    from tf_simclrv2.config import NetworkConfig, ProjectionHeadConfig
    from tf_simclrv2.interop.checkpoints import save_google_checkpoint
    from tf_simclrv2.interop.google import google_names
    from tf_simclrv2.networks.network import Network

    config = NetworkConfig(depth, width, sk_ratio, stem="imagenet")
    network = Network(config, ProjectionHeadConfig(), num_classes=1000, probe=True).build_for(224)
    for name, variable in google_names(network, "tf2").items():
        random = np.random.RandomState(zlib.crc32(name.encode()))
        variable.assign(random.standard_normal(variable.shape).astype(np.float32))
    save_google_checkpoint(network, 0, path)


def measure(arguments) -> dict:
    """Runs a command of tf_simclrv2; returns its seconds and its peak memory in bytes."""
    start = time.time()
    process = subprocess.Popen([sys.executable, "-m", "tf_simclrv2", *arguments], cwd=ROOT)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        sys.exit(process.returncode)
    # Linux counts in KiB, macOS in bytes.
    unit = 1 if sys.platform == "darwin" else 1024
    return {"seconds": round(time.time() - start, 1), "peak_bytes": usage.ru_maxrss * unit}


def main() -> None:
    """Writes, converts, measures."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--resnet_depth", type=int, default=152)
    parser.add_argument("--width_multiplier", type=float, default=3)
    parser.add_argument("--sk_ratio", type=float, default=0.0625)
    parser.add_argument("--write", help=argparse.SUPPRESS)
    options = parser.parse_args()
    model = (options.resnet_depth, options.width_multiplier, options.sk_ratio)
    if options.write:
        write_checkpoint(options.write, *model)
        return
    with tempfile.TemporaryDirectory() as folder:
        theirs, ours, back = (os.path.join(folder, name) for name in ("theirs", "run", "back"))
        # In another process, so that its memory does not count.
        subprocess.run(
            [sys.executable, __file__, *sys.argv[1:], f"--write={theirs}"],
            env={**os.environ, "PYTHONPATH": ROOT},
            check=True,
        )
        size = os.path.getsize(f"{theirs}.data-00000-of-00001")
        for direction, arguments in (
            ("from the authors' checkpoint", [f"--google_checkpoint={theirs}"]),
            ("to the authors' checkpoint", [f"--to_google={back}"]),
        ):
            measured = measure(["convert", f"--model_dir={ours}", *arguments])
            ratio = round(measured["peak_bytes"] / size, 2)
            result = {"direction": direction, "checkpoint_bytes": size, **measured}
            print(json.dumps({**result, "peak_per_checkpoint": ratio}), flush=True)


if __name__ == "__main__":
    main()
