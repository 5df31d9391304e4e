"""What queries are contrasted with at the end of pretraining: similarities by kind of key.

Run from the project's root, on runs of ``benchmarks.memory_experiment`` or others with labels:

  python -m benchmarks.memory_negatives runs/memory/without_64_0_pretrained \
    runs/memory/memory_64_0_pretrained

For each run, further batches pass through the trained network and, with a memory, through the
memory network and the queue; nothing is trained. The table has, for each kind of key, how many
there are to a query, their mean similarity with it, and their share of the loss's softmax, which is
their share of the pull or push on the query. Keys of the batch that were more or less similar than
those of the queue would show that batch norm's statistics give a batch away.
"""

import argparse
import itertools
from typing import Dict, List, Tuple

_STEPS = 50


def measure(directory: str) -> Dict[str, Tuple[float, float, float]]:
    """Measures one run.

    Args:
      directory: of a pretraining run on a data set with labels.

    Returns:
      Keys to a query, their mean similarity and share of the softmax, by kind of key.
    """
    import numpy as np

    from tf_simclrv2.data.augmentation import ready_for_network
    from tf_simclrv2.data.pipeline import contrastive_batches
    from tf_simclrv2.data.sources import open_source
    from tf_simclrv2.keras2 import tf
    from tf_simclrv2.objectives.contrastive import normalize
    from tf_simclrv2.runtime.restoring import restore_network
    from tf_simclrv2.runtime.run_directory import RunDirectory

    run = RunDirectory(directory)
    config = run.config
    batch = config.optimization.train_batch_size
    online = restore_network(run)
    networks, queued_steps = [online, online], 0
    if config.memory.use_memory:
        networks[1] = restore_network(run, use_ema_weights=True)
        queued_steps = config.memory.memory_size // (2 * batch)
        # As in training: a frozen batch norm uses the moving statistics.
        networks[1].trainable = config.memory.memory_batch_norm == "batch"

    batches = contrastive_batches(
        open_source(config.data), config.data, config.augmentation, batch, config.run.seed + 1
    )
    queue: List[tuple] = []
    sums: Dict[str, np.ndarray] = {}
    for made in itertools.islice(batches, queued_steps + _STEPS):
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
            all_keys, all_labels = [second], [labels]
            if config.memory.use_memory:
                all_keys += [old for old, _ in queue]
                all_labels += [of_old for _, of_old in queue]
            else:
                all_keys.append(first)
                all_labels.append(labels)
            similar = queries[:batch] @ np.concatenate(all_keys).T
            same = labels[:, np.newaxis] == np.concatenate(all_labels)
            position = np.arange(similar.shape[1])
            itself = position == np.arange(batch)[:, np.newaxis]
            of_batch = np.broadcast_to(position < batch, same.shape)
            if not config.memory.use_memory:
                # The query itself stands at its place among the own view's.
                itself_again = position - batch == np.arange(batch)[:, np.newaxis]
                similar = np.where(itself_again, -np.inf, similar)
                of_batch = ~itself_again
            weights = np.exp(similar / config.contrastive.temperature)
            weights /= weights.sum(axis=1, keepdims=True)
            of_queue = ~of_batch & np.isfinite(similar)
            kinds = {
                "positive": itself,
                "batch, same class": of_batch & same & ~itself,
                "batch, other class": of_batch & ~same,
                "queue, same class": of_queue & same,
                "queue, other class": of_queue & ~same,
            }
            for kind, chosen in kinds.items():
                part = chosen.sum(), similar[chosen].sum(), weights[chosen].sum()
                sums[kind] = sums.get(kind, 0) + np.array(part)
        queue = [*queue, (keys, np.tile(labels, 2))][len(queue) == queued_steps :]
    return {
        kind: (count / (_STEPS * batch), total / max(count, 1), weight / (_STEPS * batch))
        for kind, (count, total, weight) in sums.items()
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
