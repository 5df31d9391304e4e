"""What replicas cost, how the contrastive loss grows with the batch, and what recomputation saves.

Run from the project's root; all tables take about a quarter of an hour on two cores:

  python -m benchmarks.scaling [--tables=replicas,loss,rematerialize]

Replicas are virtual devices, which share the machine's cores: the step's time shows what the
exchange costs, not what more devices would gain. Every measurement runs in a separate process and
reports that process's peak of resident memory.
"""

import argparse
import multiprocessing
import resource
import statistics
import time
from typing import Callable, List, Tuple

_DIM = 128


def _timed(step: Callable[[], object], steps: int) -> Tuple[float, float]:
    """Median seconds of a step after the first, and the process's peak MiB."""
    step()
    seconds = []
    for _ in range(steps):
        start = time.perf_counter()
        step()
        seconds.append(time.perf_counter() - start)
    return statistics.median(seconds), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def time_step(replicas: int, batch: int, image_size: int, steps: int) -> Tuple[float, float, int]:
    """Times a pretraining step of ResNet-18 on virtual devices.

    Args:
      replicas: number of virtual devices.
      batch: the global batch.
      image_size: in pixels.
      steps: how many to time.

    Returns:
      Median seconds, peak MiB, and bytes that a replica receives when embeddings are gathered.
    """
    from tf_simclrv2.config import (
        ContrastiveConfig,
        DevicesConfig,
        NetworkConfig,
        OptimizationConfig,
        ProjectionHeadConfig,
    )
    from tf_simclrv2.keras2 import tf
    from tf_simclrv2.learners.pretrainer import Pretrainer
    from tf_simclrv2.networks.network import Network
    from tf_simclrv2.optimization.optimizers import build_optimizer
    from tf_simclrv2.optimization.schedules import WarmupCosine
    from tf_simclrv2.runtime.devices import Devices

    devices = Devices.open(DevicesConfig(virtual_devices=replicas))
    received: List[int] = []
    gather = tf.distribute.ReplicaContext.all_gather

    def counting_gather(context, value, axis, options=None):
        received.append((replicas - 1) * value.shape.num_elements() * value.dtype.size)
        return gather(context, value, axis, options)

    tf.distribute.ReplicaContext.all_gather = counting_gather
    optimization = OptimizationConfig(train_batch_size=batch)
    with devices.scope():
        # With probe=True, as for pretraining, it has all layers of the projection head.
        network = Network(
            NetworkConfig(resnet_depth=18).resolved(image_size), ProjectionHeadConfig(), probe=True
        )
        learner = Pretrainer(network.build_for(image_size), ContrastiveConfig(), optimization)
        schedule = WarmupCosine(peak=0.1, warmup_steps=0, total_steps=1000)
        learner.compile(build_optimizer(optimization, schedule, learner.roles))

    def batches(part):
        shape = [batch // part.replicas, image_size, image_size, 3]
        views = {"view_1": tf.random.uniform(shape), "view_2": tf.random.uniform(shape)}
        return tf.data.Dataset.from_tensors(views).repeat()

    iterator = iter(devices.distribute(batches))

    @tf.function
    def step(iterator):
        return devices.strategy.run(learner.train_step, args=(next(iterator),))

    seconds, peak = _timed(
        lambda: devices.strategy.experimental_local_results(step(iterator)["loss"])[0].numpy(),
        steps,
    )
    # A step gathers once, but each replica traces it, and more than once.
    return seconds, peak, max(received, default=0)


def time_loss(batch: int, steps: int) -> Tuple[float, float]:
    """Times NT-Xent and its gradient at a global batch; returns median seconds and peak MiB."""
    from tf_simclrv2.keras2 import tf
    from tf_simclrv2.objectives.contrastive import nt_xent

    views = [tf.random.normal([batch, _DIM]) for _ in range(2)]

    @tf.function
    def step():
        with tf.GradientTape() as tape:
            tape.watch(views)
            loss = nt_xent(*views).loss
        return [tf.reduce_sum(gradient) for gradient in tape.gradient(loss, views)]

    return _timed(lambda: step()[0].numpy(), steps)


def measure_rematerialization(rematerialize: bool, batch: int, image_size: int) -> float:
    """Does two pretraining steps of ResNet-50; returns the peak MiB.

    Args:
      rematerialize: whether to compute activations again instead of keeping them.
      batch: images, each with two views.
      image_size: in pixels.
    """
    from tf_simclrv2.config import (
        ContrastiveConfig,
        NetworkConfig,
        OptimizationConfig,
        ProjectionHeadConfig,
    )
    from tf_simclrv2.keras2 import tf
    from tf_simclrv2.learners.pretrainer import Pretrainer
    from tf_simclrv2.networks.network import Network
    from tf_simclrv2.optimization.optimizers import build_optimizer
    from tf_simclrv2.optimization.schedules import WarmupCosine

    optimization = OptimizationConfig(train_batch_size=batch)
    network = Network(
        NetworkConfig(resnet_depth=50).resolved(image_size), ProjectionHeadConfig(), probe=True
    )
    network.encoder.rematerialize = rematerialize
    learner = Pretrainer(network.build_for(image_size), ContrastiveConfig(), optimization)
    schedule = WarmupCosine(peak=0.1, warmup_steps=0, total_steps=1000)
    learner.compile(build_optimizer(optimization, schedule, learner.roles))
    shape = [batch, image_size, image_size, 3]
    views = {"view_1": tf.random.uniform(shape), "view_2": tf.random.uniform(shape)}
    step = tf.function(learner.train_step)
    return _timed(lambda: float(step(views)["loss"]), 1)[1]


def _in_own_process(function, *arguments):
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(function, arguments)


def _print_replicas(batch: int, image_size: int, steps: int) -> None:
    print(f"ResNet-18, {image_size} px, global batch {batch}, on virtual devices")
    print("| replicas | step | peak MiB | bytes gathered per replica | least possible |")
    print("|--:|--:|--:|--:|--:|")
    first = None
    for replicas in (1, 2, 4):
        seconds, peak, received = _in_own_process(time_step, replicas, batch, image_size, steps)
        first = first or seconds
        # Both embeddings of all other replicas' images, in float32.
        least = 2 * (batch - batch // replicas) * _DIM * 4
        print(f"| {replicas} | {seconds / first:.2f} | {peak:.0f} | {received:,} | {least:,} |",
              flush=True)  # fmt: skip


def _print_loss(steps: int) -> None:
    print("\nNT-Xent with its gradient, 128 dimensions")
    print("| global batch | milliseconds | times the row above | peak MiB |")
    print("|--:|--:|--:|--:|")
    before = None
    for batch in (256, 512, 1024, 2048, 4096, 8192):
        seconds, peak = _in_own_process(time_loss, batch, steps)
        growth = f"{seconds / before:.1f}" if before else ""
        print(f"| {batch} | {1000 * seconds:.0f} | {growth} | {peak:.0f} |", flush=True)
        before = seconds


def _print_rematerialization() -> None:
    print("\nResNet-50, 224 px, two views of each image")
    print("| batch | peak MiB | with --rematerialize |")
    print("|--:|--:|--:|")
    for batch in (4, 8, 16):
        peaks = [
            _in_own_process(measure_rematerialization, again, batch, 224) for again in (False, True)
        ]
        print(f"| {batch} | {peaks[0]:.0f} | {peaks[1]:.0f} |", flush=True)


def main() -> None:
    """Prints the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--tables", default="replicas,loss,rematerialize", help="the tables to print"
    )
    parser.add_argument("--batch", type=int, default=64, help="global batch of the steps")
    parser.add_argument("--image_size", type=int, default=32)
    parser.add_argument("--steps", type=int, default=5, help="steps to time for each")
    options = parser.parse_args()
    tables = options.tables.split(",")
    if "replicas" in tables:
        _print_replicas(options.batch, options.image_size, options.steps)
    if "loss" in tables:
        _print_loss(options.steps)
    if "rematerialize" in tables:
        _print_rematerialization()


if __name__ == "__main__":
    main()
