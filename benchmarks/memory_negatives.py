"""Measures what queries are contrasted with at the end of pretraining, by kind of key.

Run from the project's root, on runs of ``benchmarks.memory_experiment`` or others with labels:

  python -m benchmarks.memory_negatives runs/memory/without_64_0_pretrained \
    runs/memory/memory_64_0_pretrained

For each run, further batches pass through the trained network and, with a memory, through the
memory network and the queue. Nothing is trained. For each kind of key, the table shows how many
there are for a query, their mean similarity with it, and their share of the loss's softmax, which
is their share of the pull or push on the query. If keys of the batch were more or less similar than
those of the queue, batch norm's statistics would give the batch away.
"""

import argparse
import itertools
from typing import Dict, List, Tuple

import numpy as np

_STEPS = 50


def measure(directory: str) -> Dict[str, Tuple[float, float, float]]:
    """Measures one run.

    Args:
      directory: of a pretraining run on a data set with labels.

    Returns:
      Keys to a query, their mean similarity and share of the softmax, by kind of key.
    """
    from tf_simclrv2.config import PretrainConfig
    from tf_simclrv2.data.batches import Views, batches
    from tf_simclrv2.data.sources import open_source
    from tf_simclrv2.data.stream import Stream
    from tf_simclrv2.data.views import ready_for_network
    from tf_simclrv2.keras2 import tf
    from tf_simclrv2.learners.moving_average import normalize_by
    from tf_simclrv2.objectives.contrastive import normalize
    from tf_simclrv2.runtime.checkpoint import load_run
    from tf_simclrv2.runtime.run_directory import RunDirectory

    run = RunDirectory(directory)
    config = run.config
    assert isinstance(config, PretrainConfig)
    batch = config.optimization.train_batch_size
    online = load_run(run.path)
    networks, queued_steps = [online, online], 0
    if config.memory.use_memory:
        networks[1] = load_run(run.path, use_ema_weights=True)
        queued_steps = config.memory.memory_size // (2 * batch)
        normalize_by(networks[1], config.memory.memory_batch_norm)

    stream = Stream(
        open_source(config.data), config.data.train_split, config.run.seed + 1, data=config.data
    )
    views_of = Views.two(config.data.resolved_image_size, config.augmentation)
    queue: List[Tuple[np.ndarray, np.ndarray]] = []
    sums: Dict[str, np.ndarray] = {}
    for made in itertools.islice(batches(stream, views_of, batch), queued_steps + _STEPS):
        labels = made["label"].numpy()
        ready = ready_for_network(made, config.augmentation)
        views = tf.concat([ready["view_1"], ready["view_2"]], axis=0)
        queries, keys = (
            normalize(
                network(views, training=True)["projection"], config.contrastive.hidden_norm
            ).numpy()
            for network in networks
        )
        if len(queue) == queued_steps:
            first, second = np.split(keys, 2)
            others = queue if config.memory.use_memory else [(first, labels)]
            similar = queries[:batch] @ np.concatenate([second, *(old for old, _ in others)]).T
            of_keys = np.concatenate([labels, *(of_old for _, of_old in others)])
            same = labels[:, np.newaxis] == of_keys
            if not config.memory.use_memory:
                # The query is among the keys of its own view.
                np.fill_diagonal(similar[:, batch:], -np.inf)
            weights = np.exp(similar / config.contrastive.temperature)
            weights /= weights.sum(axis=1, keepdims=True)
            for kind, chosen in kinds_of_keys(similar, same, config.memory.use_memory).items():
                part = chosen.sum(), similar[chosen].sum(), weights[chosen].sum()
                sums[kind] = sums.get(kind, 0) + np.array(part)
        queue = [*queue, (keys, np.tile(labels, 2))][len(queue) == queued_steps :]
    return {
        kind: (count / (_STEPS * batch), total / max(count, 1), weight / (_STEPS * batch))
        for kind, (count, total, weight) in sums.items()
    }


def kinds_of_keys(similar: np.ndarray, same: np.ndarray, use_memory: bool) -> Dict[str, np.ndarray]:
    """Sorts keys by where they come from.

    Args:
      similar: float [queries, keys], similarities of the batch's queries to the keys: to those of
        the other view, in the same order, and then to the queue's or else to those of the own view,
        where the query itself is at -infinity.
      same: bool [queries, keys], whether a key is of the query's class.
      use_memory: whether there is a queue.

    Returns:
      bool [queries, keys] by kind.
    """
    batch, position = len(similar), np.arange(similar.shape[1])
    itself = position == np.arange(batch)[:, np.newaxis]
    is_key = np.isfinite(similar)
    of_batch = is_key & ((position < batch) | (not use_memory))
    of_queue = is_key & ~of_batch
    return {
        "positive": itself,
        "batch, same class": of_batch & same & ~itself,
        "batch, other class": of_batch & ~same,
        "queue, same class": of_queue & same,
        "queue, other class": of_queue & ~same,
    }


def main() -> None:
    """Prints a table for each run."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("runs", nargs="+", help="directories of pretraining runs")
    for directory in parser.parse_args().runs:
        print(f"\n{directory}\n")
        print("| key | of them | mean similarity | share of the softmax |")
        print("|---|--:|--:|--:|")
        for kind, (count, similarity, share) in measure(directory).items():
            print(f"| {kind} | {count:.1f} | {similarity:.3f} | {share:.1%} |", flush=True)


if __name__ == "__main__":
    main()
