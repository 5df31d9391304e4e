"""Measures what monitors cost a pretraining: their share of its CPU time.

    python -m benchmarks.monitors_cost --whole_steps=1123 --dataset=digits [--resnet_depth=18 ...]

Trains 12 steps with the flags that are given, of which two end with a monitor, and from these tells
the share in a run of so many steps, with monitors as often as by default. CPU time is that of all
threads, so that it also tells on a machine that does other things. The first monitor makes the
views and its graph; the first step, which makes the other graph, is not counted. What we measured:
docs/monitors.md.
"""

import argparse
import tempfile
import time
from typing import List
from unittest import mock

from tf_simclrv2.config import MonitorConfig
from tf_simclrv2.programs.main import main as simclrv2

_STEPS, _SHORT = 12, ["--train_steps=12", "--monitor_every_steps=6", "--mode=train"]


def main(whole_steps: int, flags: List[str]) -> None:
    """Trains, and prints the seconds of a step, of the monitors, and their share."""
    from tf_simclrv2.learners.learner import Learner
    from tf_simclrv2.training.monitoring import Monitor

    monitors: List[float] = []
    steps: List[float] = []
    measured: List[int] = []
    measure, fit = Monitor.measure, Learner.fit

    def timed_measure(monitor: Monitor):
        begun = time.process_time()
        values = measure(monitor)
        monitors.append(time.process_time() - begun)
        batch_size = monitor._config.optimization.train_batch_size
        images = monitor._monitored.count
        measured[:] = [MonitorConfig().steps_between(whole_steps, batch_size, images)]
        return values

    def timed_fit(learner: Learner, *arguments, **named):
        from tf_simclrv2.keras2 import keras

        begin = keras.callbacks.LambdaCallback(
            on_batch_begin=lambda *_, **__: steps.append(time.process_time())
        )
        fit(learner, *arguments, **{**named, "callbacks": [begin, *named["callbacks"]]})
        steps.append(time.process_time())

    measuring = mock.patch.object(Monitor, "measure", timed_measure)
    fitting = mock.patch.object(Learner, "fit", timed_fit)
    with measuring, fitting, tempfile.TemporaryDirectory() as path:
        code = simclrv2(["pretrain", f"--model_dir={path}/run", *flags, *_SHORT])
    if code:
        raise SystemExit(code)
    step = (steps[-1] - steps[1] - sum(monitors)) / (_STEPS - 1)
    first, later = monitors[0], monitors[-1]
    times = -(-whole_steps // measured[0])
    share = (first + (times - 1) * later) / (whole_steps * step)
    told = f"the first monitor {first:.2f} s, others {later:.2f} s"
    print(f"\na step takes {step:.3f} s of CPU time, {told}")
    print(
        f"{whole_steps:,} steps have {times}, every {measured[0]}: {share:.2%} of the run without"
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--whole_steps", type=int, required=True)
    known, others = parser.parse_known_args()
    main(known.whole_steps, others)
