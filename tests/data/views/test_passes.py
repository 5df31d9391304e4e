"""How often the compiled program of the views goes over all of them, which is what it costs."""

import math
import re

from tf_simclrv2.config import AugmentationConfig
from tf_simclrv2.data.views.distortion import distort
from tf_simclrv2.keras2 import tf

SHAPE = (8, 64, 64, 3)
# What writes nothing, or is counted in the computation that it calls.
FREE = {"parameter", "get-tuple-element", "bitcast", "tuple", "while", "constant"}
RESULT = re.compile(r"\s*(?:ROOT )?%?[\w.\-]+ = [a-z]+\d+\[([\d,]+)\]\S* ([\w\-]+)\(")


def _passes(program):
    """How many arrays as large as the views each computation writes, but for fused ones."""
    found = {}
    for computation in program.strip().split("\n\n"):
        heading, *lines = computation.strip().splitlines()
        matches = filter(None, map(RESULT.match, lines))
        sizes = [math.prod(map(int, m[1].split(","))) for m in matches if m[2] not in FREE]
        name = heading.split("(")[0]
        if "fus" not in name:
            found[name] = sum(size >= math.prod(SHAPE) for size in sizes)
    return {name: count for name, count in found.items() if count}


def test_all_changes_of_colour_are_one_pass_each_and_blur_two():
    config = AugmentationConfig()
    compiled = tf.function(lambda views, draws: distort(views, draws, config), jit_compile=True)
    arguments = tf.zeros(SHAPE, tf.uint8), tf.zeros([SHAPE[0], 22])
    program = compiled.experimental_get_compiler_ir(*arguments)(stage="optimized_hlo")
    passes = _passes(program)
    entry = next(name for name in passes if name.startswith("ENTRY"))
    # In and out of planes, two products of blur and what they need.
    assert passes.pop(entry) <= 8
    # The loop over the four changes of colour.
    assert len(passes) == 1 and sum(passes.values()) <= 3
