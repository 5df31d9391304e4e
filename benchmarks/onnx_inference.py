"""Times a ResNet-50 of PyTorch in ONNX Runtime, for benchmarks.inference, which runs it.

Needs PyTorch, onnx and onnxruntime and none of the packages that this project needs, so that it can
run in an environment of its own, from the project's root:

  PYTHON -m benchmarks.onnx_inference ROUNDS BATCH...

For each batch size it prints the median seconds and CPU seconds of a batch, at 224 pixels. The
network is the one that benchmarks.torch_step trains, with a classifier of 1,000 classes; ONNX
Runtime folds its batch norm.
"""

import os
import statistics
import sys
import tempfile
import time

import numpy as np
import onnxruntime
import torch
from torch import nn

from benchmarks.torch_step import encoder

_SIZE, _CLASSES, _DEPTH = 224, 1000, 50


def main() -> None:
    """Prints a line for each batch size."""
    rounds, batches = int(sys.argv[1]), [int(each) for each in sys.argv[2:]]
    layers, channels = encoder(_DEPTH, _SIZE)
    model = nn.Sequential(*layers, nn.Linear(channels, _CLASSES), nn.Softmax(1)).eval()
    images = np.random.RandomState(0).uniform(size=[max(batches), 3, _SIZE, _SIZE])
    images = images.astype(np.float32)
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "model.onnx")
        torch.onnx.export(
            model, (torch.from_numpy(images[:1]),), path, input_names=["images"],
            dynamic_axes={"images": {0: "batch"}}, dynamo=False,
        )  # fmt: skip
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = len(os.sched_getaffinity(0))
        session = onnxruntime.InferenceSession(path, options, ["CPUExecutionProvider"])
        for batch in batches:
            seconds, processor = [], []
            for _ in range(rounds + 1):
                start, worked = time.perf_counter(), time.process_time()
                session.run(None, {"images": images[:batch]})
                seconds.append(time.perf_counter() - start)
                processor.append(time.process_time() - worked)
            print(statistics.median(seconds[1:]), statistics.median(processor[1:]))


if __name__ == "__main__":
    main()
