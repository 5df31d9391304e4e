"""Measures two checkouts of the project by turns, so that whatever else runs slows both alike."""

import os
import statistics
import subprocess
import sys
from typing import Dict, List, Optional, Sequence


def in_turns(
    script: str, arguments: Sequence[str], other: Optional[str], rounds: int
) -> Dict[str, List[float]]:
    """Runs a script on each checkout, each time in a process of its own.

    Args:
      script: path of the script; it imports whichever ``tf_simclrv2`` is on the path, and its last
        line of output is numbers.
      arguments: of the script.
      other: directory of another checkout; None measures only this one.
      rounds: times that each is measured.

    Returns:
      The median of each number by checkout, ``ours`` and ``other``.
    """
    checkouts = {"ours": os.getcwd(), **({"other": os.path.abspath(other)} if other else {})}
    found: Dict[str, List[List[float]]] = {name: [] for name in checkouts}
    for _ in range(rounds):
        for name, checkout in checkouts.items():
            environment = {**os.environ, "PYTHONPATH": checkout, "TF_CPP_MIN_LOG_LEVEL": "3"}
            done = subprocess.run(
                [sys.executable, os.path.abspath(script), *arguments], env=environment,
                cwd=checkout, check=True, stdout=subprocess.PIPE, text=True,
            )  # fmt: skip
            found[name].append([float(each) for each in done.stdout.splitlines()[-1].split()])
    return {name: [statistics.median(part) for part in zip(*each)] for name, each in found.items()}
