"""Every step function is traced once over a whole run, partial batches included."""

import collections

import pytest

from tests.conftest import DIGITS_VIEWS, FEW_STEPS
from tf_simclrv2.keras2 import tf
from tf_simclrv2.learners.learner import Learner
from tf_simclrv2.networks.network import Network


@pytest.fixture
def traces(monkeypatch):
    """How often the step of training and the network of evaluation were traced."""
    found = collections.Counter()
    step, call = Learner.train_step, Network.call

    def train_step(self, data):
        found["step"] += 1
        return step(self, data)

    def called(self, inputs, training=False):
        # Python runs it for a trace alone; where variables are made, there is none.
        if tf.inside_function() and not training and self.built:
            found["network"] += 1
        return call(self, inputs, training=training)

    monkeypatch.setattr(Learner, "train_step", train_step)
    monkeypatch.setattr(Network, "call", called)
    return found


COMMANDS = {
    "finetune": ["--checkpoint={pretrained}", "--label_fraction=0.02"],
    "finetune from ridge": [
        "--checkpoint={pretrained}", "--label_fraction=0.05", "--head_start=ridge"
    ],
    "distill": ["--teacher={fine_tuned}"],
}  # fmt: skip


@pytest.mark.parametrize("command_line", COMMANDS)
def test_training_and_evaluating_trace_once(command, method, traces, tmp_path, command_line):
    flags = [flag.format(**method) for flag in COMMANDS[command_line]]
    run = f"--model_dir={tmp_path / 'run'}"
    outcome = command(
        command_line.split()[0], *flags, *FEW_STEPS, *DIGITS_VIEWS, "--mode=train", run
    )
    assert outcome.code == 0 and traces["step"] == 1
    traces.clear()
    # 360 test images: the last batch has 10.
    assert command("evaluate", run, "--eval_batch_size=50").code == 0
    assert traces == {"network": 1}
