"""Measures a step of pretraining on the CPU, with LARS, against other code.

Run from the project's root; DIRECTORY holds another checkout, such as an earlier commit, SIMCLR one
of google-research/simclr, and PYTHON is one that has PyTorch:

  git worktree add DIRECTORY COMMIT
  python -m benchmarks.step --other=DIRECTORY --depth=50 --image_size=64 --batch=32
  python -m benchmarks.step --formats=float32,mixed_bfloat16 --depth=50 --image_size=64 --batch=32
  python -m benchmarks.step --simclr=SIMCLR --torch=PYTHON --formats=float32,mixed_bfloat16

The images are random, and none is read. CPU seconds are those of all threads. The whole is a step;
the optimizer is the part that updates the weights, measured by itself.
"""

import argparse
import os
import statistics
import subprocess
import time
from typing import Callable, Dict, List

_CALLS = 5


def cpu_seconds(call: Callable[[], object]) -> float:
    """The median of the CPU seconds that calls take, after a first one that doesn't count."""
    call()
    seconds = []
    for _ in range(_CALLS):
        start = time.process_time()
        call()
        seconds.append(time.process_time() - start)
    return statistics.median(seconds)


def measure(depth: int, image_size: int, batch: int, number_format: str) -> None:
    """Prints the CPU seconds of a step and of its update, of the checkout on the path."""
    from tf_simclrv2.config import (
        DataConfig,
        NetworkConfig,
        OptimizationConfig,
        PretrainConfig,
        RunConfig,
    )
    from tf_simclrv2.keras2 import keras, tf
    from tf_simclrv2.learners.pretrainer import Pretrainer
    from tf_simclrv2.learners.steps import build_network
    from tf_simclrv2.optimization.optimizers import build_optimizer
    from tf_simclrv2.optimization.schedules import WarmupCosine

    keras.mixed_precision.set_global_policy(number_format)
    config = PretrainConfig(
        RunConfig("unused"),
        data=DataConfig(image_size=image_size),
        network=NetworkConfig(resnet_depth=depth).resolved(image_size),
        optimization=OptimizationConfig(train_batch_size=batch),
    )
    learner = Pretrainer(build_network(config, 10), config.contrastive, config.optimization)
    learner.network.build_for(image_size)
    schedule = WarmupCosine(peak=0.1, warmup_steps=1, total_steps=1000)
    learner.compile(optimizer=build_optimizer(config.optimization, schedule, learner.roles))
    shape = [batch, image_size, image_size, 3]
    views = [tf.random.stateless_uniform(shape, [0, view]) for view in range(2)]
    images = {"view_1": views[0], "view_2": views[1], "label": tf.zeros([batch], tf.int64)}
    step = tf.function(learner.train_step)
    variables = learner.network.trainable_variables
    gradients = [tf.fill(each.shape, 1e-3) for each in variables]
    update = tf.function(lambda: learner.optimizer.apply_gradients(zip(gradients, variables)))
    print(cpu_seconds(lambda: step(images)), cpu_seconds(update))


def main() -> None:
    """Runs what the command line asks for, and prints a table in Markdown."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--other", help="directory of another checkout")
    parser.add_argument("--simclr", help="directory of the authors' code, in float32")
    parser.add_argument("--torch", help="a Python that has PyTorch, to compare with")
    parser.add_argument("--depth", type=int, default=50, help="of the ResNet")
    parser.add_argument("--image_size", type=int, default=64)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument(
        "--formats", default="float32", help="several are compared in this checkout"
    )
    parser.add_argument("--measure", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    names = ("depth", "image_size", "batch")
    sizes = [getattr(options, name) for name in names]
    if options.measure and options.simclr:
        from benchmarks.authors import measure_step

        print(*measure_step(options.simclr, *sizes))
        return
    if options.measure:
        depth, image_size, batch = sizes
        measure(depth, image_size, batch, options.formats)
        return
    flags = ["--measure", *(f"--{name}={size}" for name, size in zip(names, sizes))]
    medians = _medians(options, flags)
    print("| CPU ms | a step | its update | ratios to the last row |\n|---|--:|--:|--:|")
    last = list(medians.values())[-1]
    for name, parts in medians.items():
        ratios = ", ".join(f"{part / reference:.2f}" for part, reference in zip(parts, last))
        print(f"| {name} | {' | '.join(f'{1000 * part:.0f}' for part in parts)} | {ratios} |")


def _medians(options: argparse.Namespace, flags: List[str]) -> Dict[str, List[float]]:
    """CPU seconds of a step and its update by what is compared."""
    from benchmarks.checkouts import in_turns

    formats = options.formats.split(",")
    if len(formats) == 1 and not options.torch and not options.simclr:
        return in_turns(
            __file__, [*flags, f"--formats={formats[0]}"], options.other, options.rounds
        )
    found: Dict[str, List[List[float]]] = {}
    for _ in range(options.rounds):
        for each in formats:
            ours = in_turns(__file__, [*flags, f"--formats={each}"], None, 1)
            found.setdefault(each, []).extend(ours.values())
            if options.torch:
                found.setdefault(f"PyTorch, {each}", []).append(_of_torch(options, each))
            if options.simclr and each == "float32":
                simclr = f"--simclr={os.path.abspath(options.simclr)}"
                theirs = in_turns(__file__, [*flags, simclr], None, 1)
                found.setdefault("authors", []).extend(theirs.values())
    return {each: [statistics.median(part) for part in zip(*rows)] for each, rows in found.items()}


def _of_torch(options: argparse.Namespace, number_format: str) -> List[float]:
    """CPU seconds of PyTorch's step and its update."""
    sizes = [str(size) for size in (options.depth, options.image_size, options.batch)]
    done = subprocess.run(
        [options.torch, "-m", "benchmarks.torch_step", *sizes, number_format],
        check=True, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    return [float(seconds) for seconds in done.stdout.split()]


if __name__ == "__main__":
    main()
