"""The ridge classifier of a probe as a run, which is used like a fine-tuned one."""

from typing import Mapping

from tf_simclrv2.config import ComputeConfig, FinetuneConfig, place
from tf_simclrv2.evaluation import measures, ridge
from tf_simclrv2.evaluation.features import Features
from tf_simclrv2.evaluation.measures import Answers
from tf_simclrv2.keras2 import keras
from tf_simclrv2.learners.steps import build_network
from tf_simclrv2.runtime import calibration_file
from tf_simclrv2.runtime.calibration_file import Calibration
from tf_simclrv2.runtime.devices import Devices
from tf_simclrv2.runtime.run_directory import RunDirectory
from tf_simclrv2.runtime.settings import RunSettings
from tf_simclrv2.runtime.solved_run import write_solved
from tf_simclrv2.training.evaluating import evaluate
from tf_simclrv2.training.frozen import Frozen
from tf_simclrv2.training.head_start import set_classifier


def _calibrate(directory: RunDirectory, answers: Answers) -> None:
    """Calibrates by the labelled images, each left out in turn; held-out ones go before them."""
    measured = measures.measures(answers)
    if "temperature" in measured:
        on = f"{measured['images']:,} labelled images, each left out in turn"
        kept = Calibration.measured(answers, measured, on, is_own=False)
        calibration_file.write(directory.path, 0, kept)


def write_probe_run(
    directory: RunDirectory,
    config: FinetuneConfig,
    frozen: Frozen,
    labelled: Mapping[str, int],
    train: Features,
) -> None:
    """Writes a run with a network of frozen weights whose classifier is a ridge regression.

    Its outputs are multiplied by what makes them predict best those labelled images that are left
    out. If there is a split to evaluate on, the run is evaluated.

    Args:
      directory: where, see :func:`tf_simclrv2.runtime.solved_run.check_new`.
      config: of a fine-tuning of that network on these labels.
      frozen: the network, and the data.
      labelled: classes of the labelled images by id.
      train: their features.

    Raises:
      ConfigError: it can't be written.
    """
    names, data = frozen.source.class_names, config.data
    assert names is not None  # There are labels.
    keras.utils.set_random_seed(config.run.seed)
    devices = Devices.open(ComputeConfig(strategy="one_device"))
    network = build_network(config, len(names))
    weights = frozen.of_run
    weights.checkpoint.restore_pretrained(network, weights.use_ema_weights)
    regressions = ridge.Ridge(train)
    penalty = regressions.best()
    sharpness = regressions.sharpness(penalty)
    set_classifier(network, regressions.solution(penalty), sharpness)

    def fill(run: RunDirectory) -> None:
        run.write_labelled({each: names[label] for each, label in labelled.items()})
        run.write_data(
            {
                "dataset": frozen.source.name,
                "data_dir": frozen.source.directory,
                "split": data.train_split,
                "labels": place(data.labels),
                "fingerprint": frozen.source.fingerprint(data.train_split),
                "num_examples": frozen.source.num_examples(data.train_split),
                "num_labelled": len(labelled),
            }
        )

    write_solved(directory, "run_dir", RunSettings("finetune", config, names), network, fill)
    _calibrate(directory, Answers(ridge.logits(train, None, len(names)), train.labels))
    if data.eval_split is not None:
        evaluate(directory, devices, network, frozen.source, data, step=0)
