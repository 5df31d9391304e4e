"""Measures NT-Xent by itself, forwards and backwards: time and memory, against another checkout.

Run from the project's root; DIRECTORY holds the other checkout, such as an earlier commit:

  git worktree add DIRECTORY COMMIT
  python -m benchmarks.loss --other=DIRECTORY --batch=4096

The checkouts take turns, each time in a process of its own. Memory is by how much a process's peak
grows over what it held before the first call.
"""

import argparse
import resource
import statistics
import time

_DIM = 128
_CALLS = 5
_VARIANTS = {"one operation after the other": [], "compiled by XLA": ["--xla"]}


def measure(batch: int, jit_compile: bool) -> None:
    """Prints seconds of a call and MiB that the calls take, of the checkout on the path."""
    from tf_simclrv2.keras2 import tf
    from tf_simclrv2.objectives.contrastive import nt_xent

    @tf.function(jit_compile=jit_compile)
    def step(first, second):
        with tf.GradientTape() as tape:
            tape.watch([first, second])
            result = nt_xent(first, second, temperature=0.1)
        return (*tape.gradient(result.loss, [first, second]), *result)

    views = [tf.random.stateless_normal([batch, _DIM], [0, view]) for view in range(2)]
    tf.linalg.matmul(*views, transpose_b=True)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    step(*views)
    seconds = []
    for _ in range(_CALLS):
        start = time.process_time()
        outputs = step(*views)
        outputs[0].numpy()
        seconds.append(time.process_time() - start)
    after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(statistics.median(seconds), (after - before) / 1024)


def main() -> None:
    """Runs what the command line asks for, and prints a table in Markdown."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--other", help="directory of another checkout")
    parser.add_argument("--batch", type=int, default=4096, help="images")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--measure", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--xla", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        measure(options.batch, options.xla)
        return
    from benchmarks.checkouts import in_turns

    print("| | CPU ms | MiB |\n|---|--:|--:|")
    for words, flags in _VARIANTS.items():
        arguments = [f"--batch={options.batch}", "--measure", *flags]
        medians = in_turns(__file__, arguments, options.other, options.rounds)
        for name, (seconds, mebibytes) in medians.items():
            print(f"| {words}, {name} | {1000 * seconds:.0f} | {mebibytes:.0f} |")
        if options.other:
            ratios = [ours / other for ours, other in zip(*medians.values())]
            print(f"| {words}, ours / other | {ratios[0]:.2f} | {ratios[1]:.2f} |", flush=True)


if __name__ == "__main__":
    main()
