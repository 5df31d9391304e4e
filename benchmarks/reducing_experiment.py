"""Compares what is learnt with and without --cache_max_side, on pieces of photographs.

Runs the commands one after the other in this process; runs that are in the output directory already
are not repeated. Run it from the project's root:

  python -m benchmarks.reducing_experiment --output=runs/reducing --seeds=0,1,2,3,4

It cuts squares of 128 pixels out of the photographs of the tiles, those to train on from the left
two thirds and those to evaluate on from the right three tenths, and pretrains on views of 16 pixels
by flags/tiles/pretrain.txt: from the files as they are, and as ``--cache_max_side=32`` keeps them.
"""

import argparse
import os
from typing import Dict, List

from benchmarks.runs import in_words, run_once, write_once

_SIDE, _SIZE, _KEPT = 128, 16, 32
# Part of a photograph's width, and pixels from one square to the next.
_PARTS = {"train": (0.0, 2 / 3, 32), "validation": (0.7, 1.0, 16)}
_QUALITY = 95
# By name: what is kept of each image.
_VARIANTS: Dict[str, List[str]] = {
    "as they are": [],
    f"reduced to {_KEPT} pixels": [f"--cache_max_side={_KEPT}"],
}
# By their names in result.json.
_EVALUATORS = {
    "classifier": "linear probe while pretraining",
    "ridge": "ridge regression afterwards",
    "knn": "nearest neighbours afterwards",
}
Measured = Dict[str, float]


def write_squares(directory: str) -> None:
    """Writes the squares of all photographs as ``split/class/file``."""
    from PIL import Image

    from tf_simclrv2.data.sources.tiles import PHOTOGRAPHS, read_photograph

    for name, photograph in PHOTOGRAPHS.items():
        pixels = read_photograph(photograph)
        height, width = pixels.shape[:2]
        for split, (begin, end, stride) in _PARTS.items():
            folder = os.path.join(directory, split, name)
            os.makedirs(folder, exist_ok=True)
            for left in range(int(begin * width), int(end * width) - _SIDE + 1, stride):
                for top in range(0, height - _SIDE + 1, stride):
                    square = Image.fromarray(pixels[top : top + _SIDE, left : left + _SIDE])
                    square.save(os.path.join(folder, f"{top}_{left}.jpg"), quality=_QUALITY)


def main() -> None:
    """Runs what the command line asks for, and prints a table in Markdown."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", required=True, help="directory for images and runs")
    parser.add_argument("--seeds", default="0,1,2,3,4")
    parser.add_argument("--steps", type=int, default=300)
    options = parser.parse_args()
    images = os.path.join(options.output, "images")
    write_once(images, write_squares)
    found: Dict[str, List[Measured]] = {name: [] for name in _VARIANTS}
    for seed in options.seeds.split(","):
        for number, (name, flags) in enumerate(_VARIANTS.items()):
            directory = os.path.join(options.output, f"{number}_{seed}")
            run_once(
                ["pretrain", "--recipe=tiles/pretrain", "--dataset=folder", f"--data_dir={images}",
                 f"--image_size={_SIZE}", f"--train_steps={options.steps}", "--warmup_epochs=1",
                 f"--checkpoint_steps={options.steps}", f"--seed={seed}",
                 f"--cache_path={options.output}/kept_", *flags],
                directory,
            )  # fmt: skip
            found[name].append(measure(directory))
    print(f"| top-1 in % | {' | '.join(_EVALUATORS.values())} |")
    print("|---|" + "--:|" * len(_EVALUATORS))
    as_they_are, reduced = found.values()
    differences = [{key: two[key] - one[key] for key in one}
                   for one, two in zip(as_they_are, reduced)]  # fmt: skip
    for name, of in {**found, "difference": differences}.items():
        words = [in_words([each[evaluator] for each in of]) for evaluator in _EVALUATORS]
        print(f"| {name} | {' | '.join(words)} |")


def measure(directory: str) -> Measured:
    """The accuracies of a run in %, by evaluator."""
    from tf_simclrv2.programs.main import main as simclrv2
    from tf_simclrv2.runtime.run_directory import RunDirectory

    run = RunDirectory(directory)
    result = run.result()
    if result is None or "ridge" not in result:
        code = simclrv2(["evaluate", f"--model_dir={directory}", "--evaluators=knn,ridge"])
        if code:
            raise SystemExit(code)
        result = run.result()
        assert result is not None
    return {name: 100 * result[name]["accuracy"] for name in _EVALUATORS}


if __name__ == "__main__":
    main()
