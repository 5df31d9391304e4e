"""What the tests of ``convert`` share."""

import numpy as np

from tests.interop.writers import write_saved_model, write_tf1, write_tf2
from tf_simclrv2.interop.google import google_names
from tf_simclrv2.runtime.checkpoint import load_run

SUFFIX = "/.ATTRIBUTES/VARIABLE_VALUE"
WRITERS = {"tf1": write_tf1, "tf2": write_tf2, "saved_model": write_saved_model}


def flavor_of(form):
    """Which names the variables have in a checkpoint of a form."""
    return "tf1" if form == "tf1" else "tf2"


def convert(command, checkpoint, run, *flags):
    """Converts a checkpoint of the authors' to a run directory; returns what was printed."""
    outcome = command("convert", f"--google_checkpoint={checkpoint}", f"--model_dir={run}", *flags)
    assert outcome.code == 0, outcome.err
    return outcome


def assert_refused(outcome, *words):
    """Asserts that a command ended with one sentence that has these words."""
    assert outcome.code == 1
    assert outcome.err.startswith("error: ")
    assert outcome.err.count("\n") == 1
    for word in words:
        assert word in outcome.err


def assert_has(run, values, flavor):
    """Asserts that a run holds these values, by the authors' names."""
    named = google_names(load_run(run.path), flavor)
    assert set(named) == set(values)
    for name, variable in named.items():
        np.testing.assert_array_equal(variable.numpy(), values[name], name)
