"""Measures what the memory costs: a step with and without it, and the queue by its size.

Run from the project's root; it takes about ten minutes on two cores:

  python -m benchmarks.memory

The learners with and without a memory run in separate processes, which take turns step by step, so
that whatever else the machine does slows both alike. Each process reports its peak of resident
memory. The queue's part of a step (the loss with its gradient, and writing the new keys) is timed
by itself.
"""

import argparse
import multiprocessing
import resource
import statistics
import time
from typing import Callable, Dict, List, Tuple

_SIZES = (1024, 4096, 16384, 65536)


def build_step(depth: int, batch: int, image_size: int, with_memory: bool) -> Callable[[], float]:
    """Returns a function that does one training step on random images.

    Args:
      depth: of the ResNet, of width 1.
      batch: images in a batch, of each of which there are two views.
      image_size: in pixels.
      with_memory: whether to train with a queue of 65,536 keys of 128 dimensions.
    """
    from tf_simclrv2.config import (
        DataConfig,
        MemoryConfig,
        NetworkConfig,
        OptimizationConfig,
        PretrainConfig,
        RunConfig,
    )
    from tf_simclrv2.keras2 import tf
    from tf_simclrv2.learners.memory import PretrainerWithMemory
    from tf_simclrv2.learners.pretrainer import Pretrainer
    from tf_simclrv2.learners.steps import build_network
    from tf_simclrv2.optimization.optimizers import build_optimizer
    from tf_simclrv2.optimization.schedules import WarmupCosine

    config = PretrainConfig(
        RunConfig("unused"),
        data=DataConfig(image_size=image_size),
        network=NetworkConfig(resnet_depth=depth).resolved(image_size),
        memory=MemoryConfig(with_memory),
        optimization=OptimizationConfig(train_batch_size=batch),
    )
    network = build_network(config, 10)
    if with_memory:
        average = build_network(config, 10)
        learner = PretrainerWithMemory(
            network, average, config.contrastive, config.memory, config.optimization
        )
    else:
        learner = Pretrainer(network, config.contrastive, config.optimization)
    schedule = WarmupCosine(peak=0.1, warmup_steps=0, total_steps=1000)
    learner.compile(build_optimizer(config.optimization, schedule, learner.roles))
    shape = [batch, image_size, image_size, 3]
    data = {"view_1": tf.random.uniform(shape), "view_2": tf.random.uniform(shape)}
    data["label"] = tf.zeros([batch], tf.int64)
    step = tf.function(learner.train_step)
    return lambda: float(step(data)["loss"])


def build_queue_step(batch: int, size: int, dim: int = 128) -> Callable[[], float]:
    """Returns a function that does a step's work on a full queue of ``size`` keys."""
    from tf_simclrv2.keras2 import tf
    from tf_simclrv2.learners.memory import KeyQueue
    from tf_simclrv2.objectives.contrastive import normalize, nt_xent_with_memory

    queue = KeyQueue(size, dim)
    queue.enqueue(normalize(tf.random.normal([size, dim]), True))
    projections = tf.random.normal([2 * batch, dim])
    keys = normalize(projections, True)

    @tf.function
    def step():
        with tf.GradientTape() as tape:
            tape.watch(projections)
            queries = tf.split(normalize(projections, True), 2)
            loss = nt_xent_with_memory(queries, tf.split(keys, 2), queue.keys, queue.filled).loss
        queue.enqueue(keys)
        return tape.gradient(loss, projections)[0, 0]

    return lambda: float(step())


def _work(connection, depth, batch, image_size, with_memory):
    step = build_step(depth, batch, image_size, with_memory)
    step()
    while connection.recv():
        start = time.perf_counter()
        step()
        kibibytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        connection.send((time.perf_counter() - start, kibibytes / 1024))


def compare(depth: int, batch: int, image_size: int, steps: int) -> List[List[Tuple[float, float]]]:
    """Returns (seconds, peak MiB so far) of each step without and with memory, taken in turns."""
    context = multiprocessing.get_context("spawn")
    workers = []
    for with_memory in (False, True):
        here, there = context.Pipe()
        arguments = (there, depth, batch, image_size, with_memory)
        worker = context.Process(target=_work, args=arguments, daemon=True)
        worker.start()
        workers.append((worker, here))
    measured: List[List[Tuple[float, float]]] = [[], []]
    # The first turn waits until both are ready, and is not counted.
    for turn in range(steps + 1):
        for (_, connection), results in zip(workers, measured):
            connection.send(True)
            result = connection.recv()
            if turn:
                results.append(result)
    for worker, connection in workers:
        connection.send(False)
        worker.join()
    return measured


def main() -> None:
    """Prints both tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--depths", default="18,50", help="ResNets whose step is timed")
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--image_size", type=int, default=32)
    parser.add_argument("--steps", type=int, default=10, help="steps to time for each")
    options = parser.parse_args()
    seconds_with = {}
    for depth in map(int, options.depths.split(",")):
        without, with_memory = compare(depth, options.batch, options.image_size, options.steps)
        times = [statistics.median(t for t, _ in part) for part in (without, with_memory)]
        peaks = [part[-1][1] for part in (without, with_memory)]
        seconds_with[depth] = times[1]
        print(
            f"ResNet-{depth}, {options.image_size} px, batch {options.batch}, 65,536 keys: step "
            f"{times[0]:.2f} s without, {times[1]:.2f} s with memory, ratio "
            f"{times[1] / times[0]:.2f}; peak {peaks[0]:.0f} MiB without, {peaks[1]:.0f} MiB with, "
            f"ratio {peaks[1] / peaks[0]:.2f}; medians of {options.steps} steps",
            flush=True,
        )
    # In turns here too. The first call of each function traces it.
    queue_steps = {size: build_queue_step(options.batch, size) for size in _SIZES}
    for step in queue_steps.values():
        step()
    times_of: Dict[int, List[float]] = {size: [] for size in _SIZES}
    for _ in range(20):
        for size, step in queue_steps.items():
            start = time.perf_counter()
            step()
            times_of[size].append(time.perf_counter() - start)
    for size in _SIZES:
        seconds = statistics.median(times_of[size])
        parts = "".join(
            f", {seconds / whole:.2%} of a ResNet-{depth} step"
            for depth, whole in seconds_with.items()
        )
        print(f"queue of {size:6} keys: {1000 * seconds:6.1f} ms{parts}")


if __name__ == "__main__":
    main()
