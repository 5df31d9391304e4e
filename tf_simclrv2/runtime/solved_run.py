"""Runs whose weights no training step made: they were converted, or solved in closed form."""

import os
from typing import Callable

from tf_simclrv2.keras2 import tf
from tf_simclrv2.networks.network import Network
from tf_simclrv2.runtime.disk import writing
from tf_simclrv2.runtime.run_directory import RunDirectory
from tf_simclrv2.runtime.scratch import replacing_directory
from tf_simclrv2.runtime.settings import RunSettings

_NEW = "must be a new or empty directory"


def check_new(path: str, flag: str) -> RunDirectory:
    """Returns the directory of a run that is to be written.

    Args:
      path: the directory.
      flag: the flag that named it, for the error.

    Raises:
      ConfigError: something is there.
    """
    directory = RunDirectory(path)
    directory.check_empty(_NEW, flag)
    return directory


def write_solved(
    directory: RunDirectory,
    flag: str,
    settings: RunSettings,
    network: Network,
    fill: Callable[[RunDirectory], None] = lambda run: None,
) -> None:
    """Writes a run with a checkpoint of step 0: all of it, or nothing.

    Args:
      directory: see :func:`check_new`.
      flag: the flag that named it, for the error.
      settings: of the run.
      network: its network.
      fill: writes what else belongs to the run.

    Raises:
      ConfigError: it can't be written, or something came there meanwhile.
    """
    # Training starts at step 0.
    counter = tf.train.Checkpoint(_iterations=tf.Variable(0, dtype=tf.int64))
    checkpoint = tf.train.Checkpoint(network=network, optimizer=counter)
    target = os.path.realpath(directory.path)
    with writing(flag, directory.path), replacing_directory(target, ".run-") as place:
        new = RunDirectory(place)
        new.claim(settings)
        new.begin()
        fill(new)
        new.checkpoint_manager(checkpoint, keep=1).save(checkpoint_number=0)
        directory.check_empty(_NEW, flag)
