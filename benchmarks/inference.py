"""Times our exported ResNet-50 against Keras's, exported the same way, and ONNX Runtime's.

Both are SavedModels with a signature that takes images of 224 pixels, loaded only by
tf.saved_model.load, with oneDNN on. Batches are timed in one process, with the models in turn.
Start-up, from load to the first answer, is timed in separate processes, also in turn. The command:

  python -m benchmarks.inference [--rounds 30] [--starts 5] [--onnxruntime PYTHON]

PYTHON is one that has PyTorch and ONNX Runtime, and runs benchmarks.onnx_inference, after all else.
``folded`` is our export with --fold_batch_norm. The benchmark also counts the operations that are
left after the runtime's own optimization. On a machine that others use too, look at processor time,
which is summed over all threads. Keras's network strides in the 1x1 convolutions, as the first
paper on residual networks does. Ours strides in the 3x3 ones, as the SimCLRv2 paper does, which
takes 6% more multiplications. What we measured: docs/export.md.
"""

import argparse
import collections
import os
import subprocess
import sys
import tempfile
import time
from typing import Dict, List, Tuple

import numpy as np

SIZE = 224
NUM_CLASSES = 1000
BATCHES = (1, 32)
_START = """
import sys, time
import numpy as np
import tensorflow as tf
images = tf.zeros([1, {size}, {size}, 3])
begin = time.perf_counter()
model = tf.saved_model.load(sys.argv[1])
outputs = model.signatures["serving_default"](images=images)
{{name: value.numpy() for name, value in outputs.items()}}
print(time.perf_counter() - begin)
"""


def write_models(folder: str) -> None:
    """Exports the three models, with random weights, into ``folder``."""
    from export.folding import fold_batch_norm
    from export.formats.saved_model import serving_module
    from export.model import Model
    from tf_simclrv2.config import NetworkConfig, OptimizationConfig, ProjectionHeadConfig
    from tf_simclrv2.keras2 import keras, tf
    from tf_simclrv2.networks.network import Network

    keras.utils.set_random_seed(0)
    config = NetworkConfig(resnet_depth=50).resolved(SIZE)
    network = Network(config, ProjectionHeadConfig("none"), NUM_CLASSES).build_for(SIZE)
    for name in "ours", "folded":
        if name == "folded":
            fold_batch_norm(network)
        module, signatures = serving_module(Model(network, SIZE, None, OptimizationConfig()))
        tf.saved_model.save(module, os.path.join(folder, name), signatures=signatures)

    model = keras.applications.ResNet50(weights=None, classes=NUM_CLASSES)
    module = tf.__internal__.tracking.AutoTrackable()
    module.variables = list(model.variables)
    images = tf.TensorSpec([None, SIZE, SIZE, 3], tf.float32, "images")

    @tf.function(input_signature=[images])
    def serve(images):
        return {"probabilities": model(images, training=False)}

    path = os.path.join(folder, "keras")
    tf.saved_model.save(module, path, signatures={"serving_default": serve})


def time_batches(folder: str, rounds: int) -> Dict[int, Tuple[float, float]]:
    """Prints which operations the runtime runs for each model, and the time for each batch size.

    Returns:
      Of each batch size, the seconds and CPU seconds of ``folded``.
    """
    import tensorflow as tf

    names = ("ours", "folded", "keras")
    loaded = {name: tf.saved_model.load(os.path.join(folder, name)) for name in names}
    serve = {name: model.signatures["serving_default"] for name, model in loaded.items()}
    images = np.random.RandomState(0).uniform(size=(max(BATCHES), SIZE, SIZE, 3))
    images = tf.constant(images, tf.float32)

    # First of all, since a function's graph is optimized when it is first called.
    for name, function in serve.items():
        counts = _operations(function, images[:1])
        print(f"{name}: {', '.join(f'{count} {operation}' for operation, count in counts)}")
    ours, folded = (serve[name](images=images[:4])["logits"].numpy() for name in names[:2])
    print(f"folding changes logits by {np.abs(ours - folded).max() / np.abs(ours).max():.1e}")
    found = {}
    for batch in BATCHES:
        seconds: Dict[str, List[float]] = {name: [] for name in names}
        processor: Dict[str, List[float]] = {name: [] for name in names}
        for round_ in range(-2, max(5, rounds if batch == 1 else rounds // 3)):
            for name in names:
                begin = time.perf_counter(), time.process_time()
                for value in serve[name](images=images[:batch]).values():
                    value.numpy()
                if round_ >= 0:
                    seconds[name].append(time.perf_counter() - begin[0])
                    processor[name].append(time.process_time() - begin[1])
        _report(f"batch {batch}", seconds)
        _report(f"batch {batch}, processor time", processor)
        wall, cpu = (float(np.median(each["folded"])) for each in (seconds, processor))
        found[batch] = wall, cpu
    return found


def time_onnxruntime(python: str, rounds: int, ours: Dict[int, Tuple[float, float]]) -> None:
    """Prints the time of each batch size in ONNX Runtime, beside ours."""
    command = [python, "-m", "benchmarks.onnx_inference", str(rounds), *map(str, ours)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    for line, (batch, folded) in zip(done.stdout.splitlines()[-len(ours) :], ours.items()):
        for theirs, own, what in zip(map(float, line.split()), folded, ("", ", processor time")):
            print(f"batch {batch}{what}: ONNX Runtime {1000 * theirs:.0f} ms, folded / ONNX "
                  f"Runtime's {own / theirs:.2f}", flush=True)  # fmt: skip


def _operations(function, images):
    """Counts the convolutions and batch norms that the runtime runs, with what is fused in."""
    from tensorflow.python.eager import context

    context.enable_run_metadata()
    function(images=images)
    graphs = context.export_run_metadata().function_graphs
    context.disable_run_metadata()
    counts: collections.Counter[str] = collections.Counter()
    for node in (node for graph in graphs for node in graph.post_optimization_graph.node):
        if "Conv2D" in node.op or "BatchNorm" in node.op:
            fused = node.attr["fused_ops"].list.s if "fused_ops" in node.attr else []
            counts["+".join([node.op, *(operation.decode() for operation in fused)])] += 1
    return counts.most_common()


def time_starts(folder: str, starts: int) -> None:
    """Prints the time from loading to the first answer, each in its own process."""
    seconds: Dict[str, List[float]] = {"ours": [], "folded": [], "keras": []}
    script = _START.format(size=SIZE)
    for _ in range(starts):
        for name, times in seconds.items():
            command = [sys.executable, "-c", script, os.path.join(folder, name)]
            result = subprocess.run(command, capture_output=True, text=True, check=True)
            times.append(float(result.stdout.split()[-1]))
    _report("start-up", seconds)


def _report(what: str, seconds: Dict[str, List[float]]) -> None:
    medians = {name: np.median(times) for name, times in seconds.items()}
    parts = [f"{name} {1000 * median:.0f} ms" for name, median in medians.items()]
    # Ratios of pairs that were measured in turn, so that other load on the machine hits both.
    ours, folded, theirs = (np.array(times) for times in seconds.values())
    print(
        f"{what}: {', '.join(parts)}; ours / Keras's {np.median(ours / theirs):.2f}, "
        f"folded / Keras's {np.median(folded / theirs):.2f}, "
        f"ours / folded {np.median(ours / folded):.2f}",
        flush=True,
    )


def main() -> None:
    """Runs the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--starts", type=int, default=5)
    parser.add_argument("--onnxruntime", help="a Python that has PyTorch and ONNX Runtime")
    arguments = parser.parse_args()
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    with tempfile.TemporaryDirectory() as folder:
        write_models(folder)
        folded = time_batches(folder, arguments.rounds)
        if arguments.onnxruntime:
            time_onnxruntime(arguments.onnxruntime, arguments.rounds // 3, folded)
        time_starts(folder, arguments.starts)


if __name__ == "__main__":
    main()
