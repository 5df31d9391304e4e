"""The whole method on real images, through the commands that a user would type.

Pretrains on handwritten digits without labels, fine-tunes on 1% of the labels, trains the
supervised baseline and measures simpler ones on the same labels, and distills to the same and to a
smaller network. Then it lets the network choose as many images to label, and solves, fine-tunes and
distills on these. It exports, reloads the export in a new process, predicts images of the test
split, and writes a report:

  simclrv2 demo --output_dir=demo_output --seeds=0 --label_seeds=0
"""

import csv
import logging
import os
import shlex
import shutil
import subprocess
import sys
import time
from typing import Dict, List, Mapping, NamedTuple, Sequence

from tf_simclrv2.config import ConfigError, DataConfig, DemoConfig, refuse
from tf_simclrv2.config.user_files import DIRECTORY
from tf_simclrv2.programs import command_line
from tf_simclrv2.programs.main import console
from tf_simclrv2.progress import is_hidden
from tf_simclrv2.runtime.files import check_place

logger = logging.getLogger(__name__)

# Of the training images, in the recipes for few labels.
_LABELLED = 0.01
# Marks a directory as the demo's own, which it may replace.
_MARK = ".demo"
_NUM_PREDICTED = 20


def run(values: Mapping[str, object]) -> None:
    """Runs the demo.

    Args:
      values: the flags that were given.

    Raises:
      ConfigError: the output directory is not an earlier demo's, or a command failed.
    """
    # Only now, since it loads TensorFlow, which help does without.
    from tf_simclrv2.runtime.disk import writing

    config = command_line.build(DemoConfig, values).demo
    output = os.path.expanduser(config.output_dir)
    kind = check_place(os.path.abspath(output), "output_dir", DIRECTORY, output)
    if kind == DIRECTORY and os.listdir(output):
        if not os.path.exists(os.path.join(output, _MARK)):
            raise refuse("output_dir", output, "must be new, empty or an earlier demo's")
        shutil.rmtree(output)
    with writing("output_dir", output):
        os.makedirs(output, exist_ok=True)
        open(os.path.join(output, _MARK), "w").close()

    start = time.monotonic()
    seconds: Dict[str, float] = {}
    answers = _answers(config.dataset)
    for seed, subsets in config.dealt.items():
        name = "pretrained" if not seconds else f"pretrained_{seed}"
        steps = _Steps(output, config.dataset, seed, name)
        seconds[name] = steps.train("pretrain", name)
        for subset in subsets:
            seconds.update(steps.on_random_images(subset))
            seconds.update(steps.on_chosen_images(subset, answers))
    first = config.label_seeds.split(",")[0]
    student = os.path.join(output, f"chosen_self_distilled_{first}")
    _run("export", f"--model_dir={student}", f"--export_dir={output}/export")
    _predict(output, config.dataset)

    # Only now, since plotting and reading runs load much that the commands above load themselves.
    from tf_simclrv2.programs import demo_report

    table = demo_report.write(output, config.dataset, seconds)
    logger.info("\n%s\n", table)
    page = os.path.join(output, "report.html")
    _run("report", *_reported(output, first), f"--output={page}")
    elapsed = time.monotonic() - start
    logger.info("%.0f seconds; tables and plots: %s/report.md", elapsed, output)
    logger.info("what the runs have learnt, to open in a browser: %s", page)


class _Steps(NamedTuple):
    """The commands that train, by the recipes of a data set.

    Attributes:
      output: the demo's directory, which holds the runs.
      dataset: the data set.
      seed: of the weights, views and order.
      pretrained: name of the pretraining run.
    """

    output: str
    dataset: str
    seed: str
    pretrained: str

    def path(self, name: str) -> str:
        """The directory of a run."""
        return os.path.join(self.output, name)

    def train(
        self, command: str, name: str, recipe: str = "pretrain", flags: Sequence[str] = ()
    ) -> float:
        """Runs a command by a recipe; returns its seconds."""
        recipe = f"--recipe={self.dataset}/{recipe}"
        directory, seed = f"--model_dir={self.path(name)}", f"--seed={self.seed}"
        return _run(command, recipe, directory, seed, *flags)

    def on_random_images(self, seed: str) -> Dict[str, float]:
        """Fine-tuning, baseline and both distillations on one labelled subset; returns seconds."""
        teacher = f"fine_tuned_{seed}"
        labels = f"--label_seed={seed}"
        checkpoint = f"--checkpoint={self.path(self.pretrained)}"
        taught = f"--teacher={self.path(teacher)}"
        commands = [
            ("finetune", f"supervised_{seed}", "supervised_1pct", [labels]),
            ("finetune", teacher, "finetune_1pct", [labels, checkpoint, "--baselines"]),
            ("distill", f"self_distilled_{seed}", "self_distill", [taught]),
            ("distill", f"small_student_{seed}", "distill_small", [taught]),
        ]
        return {
            name: self.train(command, name, recipe, flags)
            for command, name, recipe, flags in commands
        }

    def on_chosen_images(self, seed: str, answers: Mapping[str, str]) -> Dict[str, float]:
        """The method on as many images that the network chose itself; returns seconds."""
        budget, selected = round(_LABELLED * len(answers)), self.path(f"selected_{seed}")
        pretrained = self.path(self.pretrained)
        network = f"--model_dir={pretrained}"
        _run("select", network, f"--budget={budget}", f"--seed={seed}", f"--output_dir={selected}")
        labels = f"--labels={_filled_in(selected, answers)}"
        probed, teacher = f"chosen_probed_{seed}", f"chosen_fine_tuned_{seed}"
        seconds = {probed: _run("probe", network, labels, f"--run_dir={self.path(probed)}")}
        checkpoint = f"--checkpoint={pretrained}"
        seconds[teacher] = self.train("finetune", teacher, "finetune_1pct", [labels, checkpoint])
        student, taught = f"chosen_self_distilled_{seed}", f"--teacher={self.path(teacher)}"
        seconds[student] = self.train("distill", student, "self_distill", [taught])
        return seconds


def _reported(output: str, seed: str) -> List[str]:
    """The runs of a report: the first ones are those whose maps it draws."""
    kinds = ["fine_tuned", "self_distilled", "small_student", "supervised"]
    chosen = ["chosen_probed", "chosen_fine_tuned", "chosen_self_distilled"]
    runs = [f"{kind}_{seed}" for kind in (*kinds, *chosen)]
    return [os.path.join(output, name) for name in ("pretrained", *runs)]


def _answers(dataset: str) -> Dict[str, str]:
    """The labels of a data set's training images by id, which the demo enters like a person."""
    from tf_simclrv2.data.sources import open_source

    source = open_source(DataConfig(dataset=dataset))
    assert source.class_names is not None  # The demo's data sets have classes.
    examples = source.index("train").as_numpy_iterator()
    return {os.fsdecode(each["id"]): source.class_names[each["label"]] for each in examples}


def _filled_in(selected: str, answers: Mapping[str, str]) -> str:
    """Fills in the table of ``select``; returns the path of the new one."""
    with open(os.path.join(selected, "labels.csv"), newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    path = os.path.join(selected, "filled_in.csv")
    with open(path, "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows({**row, "label": answers[row["image"]]} for row in rows)
    return path


def _run(command: str, *flags: str) -> float:
    """Runs a command in a process of its own; returns its seconds."""
    quiet = [f"--{command_line.QUIET}"] if is_hidden() else []
    arguments = ["-m", "tf_simclrv2", command, *flags, *quiet]
    logger.info("\n$ python %s", shlex.join(arguments))
    start = time.monotonic()
    code = subprocess.run([sys.executable, *arguments]).returncode
    if code:
        raise ConfigError(f"python -m tf_simclrv2 {command}: ended with exit code {code}.")
    return time.monotonic() - start


def _predict(output: str, dataset: str) -> None:
    """Writes images of a test split as files and has the export predict them."""
    from PIL import Image

    from tf_simclrv2.data.images import decode, read
    from tf_simclrv2.data.sources import open_source

    source = open_source(DataConfig(dataset=dataset))
    assert source.class_names is not None  # The demo's data sets have classes.
    folder = os.path.join(output, "images")
    os.makedirs(folder)
    answers: List[str] = []
    for example in source.index("test").take(_NUM_PREDICTED):
        pixels = decode(read(example)["image"]).numpy()
        Image.fromarray(pixels.astype("uint8")).save(f"{folder}/{len(answers):02}.png")
        answers.append(source.class_names[int(example["label"])])
    predictions = os.path.join(output, "predictions.csv")
    _run(
        "predict",
        f"--saved_model={output}/export/1",
        f"--images={folder}",
        f"--output={predictions}",
    )
    with open(predictions, newline="", encoding="utf-8") as file:
        predicted = [row["class"] for row in csv.DictReader(file)]
    right = sum(answer == guess for answer, guess in zip(answers, predicted))
    logger.info("shown:     %s", " ".join(answers))
    logger.info("predicted: %s  (%d right)", " ".join(predicted), right)


if __name__ == "__main__":
    sys.exit(console("python -m tf_simclrv2.programs.demo", "demo"))
