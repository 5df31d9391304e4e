"""The rows of the model card about what was measured: accuracy and calibration."""

from typing import List, Optional

from tf_simclrv2.evaluation import measures
from tf_simclrv2.runtime.calibration_file import Calibration
from tf_simclrv2.runtime.results import CROSS_FINE_TUNING, CROSS_VALIDATION, Result
from tf_simclrv2.runtime.run_directory import RunDirectory

from .markdown import escaped


def accuracy(run: RunDirectory, step: int, use_ema_weights: bool) -> str:
    """What was measured of the weights of a step, or else of others of the run, and of its labels.

    Args:
      run: the run that is exported.
      step: the training step of the weights.
      use_ema_weights: whether they are those of the memory network, which nothing measures.
    """
    told = [_of_weights(run, step, use_ema_weights)]
    for name, words in _VALIDATED.items():
        validated = run.of_run(name)
        if validated is not None:
            told.append(
                f"its labels give {words} {measures.sentence(dict(validated))} in "
                f"cross-validation of {validated['images']:,} images"
            )
    return "; ".join(told)


# What was cross-validated, in words.
_VALIDATED = {
    CROSS_VALIDATION: "ridge regression on the pretrained features",
    CROSS_FINE_TUNING: "the same fine-tuning",
}


def _of_weights(run: RunDirectory, step: int, use_ema_weights: bool) -> str:
    result = run.result(step) or run.result()
    if use_ema_weights or result is None:
        others = [] if use_ema_weights else _on_other_data(run, step)
        other = f" on the run's own data; {_measured(others[-1])}" if others else ""
        return f"not measured{other}"
    if not _is_of(run, result) or not _accuracies(result):
        return "not measured"
    measured = _measured(result)
    return measured if result["step"] == step else f"not measured at this step; {measured}"


# What measured an accuracy, in words.
_EVALUATORS = {
    "classifier": "top-1",
    "ridge": "ridge regression on its features",
    "knn": "nearest neighbours by its features",
}


def _accuracies(result: Result) -> str:
    """The accuracies of an evaluation with their intervals, which earlier versions didn't keep."""
    if "classifier" not in result and "top_1_accuracy" in result:
        accuracy, images = result["top_1_accuracy"], result["num_examples"]
        of_images = measures.interval_of(accuracy, images)
        top_5 = f", top-5 {result['top_5_accuracy']:.1%}" if "top_5_accuracy" in result else ""
        told = measures.sentence({"accuracy": accuracy, "interval": of_images})
        return f"top-1 {told}{top_5}"
    found = {name: result[name] for name in _EVALUATORS if isinstance(result.get(name), dict)}
    return ", ".join(
        f"{_EVALUATORS[name]} {measures.sentence(each)}"
        + (f", top-5 {each['top_5']:.1%}" if "top_5" in each else "")
        for name, each in found.items()
    )


def _measured(result: Result) -> str:
    directory = result.get("data_dir") if result["dataset"] == "folder" else None
    place = f" in {escaped(directory)}" if directory else ""
    table = f" with the labels of {escaped(result['labels'])}" if result.get("labels") else ""
    return (
        f"{_accuracies(result)} on "
        f"{result['num_examples']:,} images of {escaped(result['dataset'])}{place} "
        f"{escaped(result['split'])}{table}, at step {result['step']:,}"
    )


def calibrated(calibration: Optional[Calibration]) -> str:
    """How the probabilities are calibrated.

    Args:
      calibration: of the weights, if there is one.
    """
    if calibration is None:
        return (
            "none, as no labels outside the training were measured with these weights: "
            "probabilities are the softmax of the logits, which is often too sure"
        )
    return (
        "probabilities are the softmax of the logits divided by "
        f"{calibration.temperature:.3g}, the temperature of {escaped(calibration.measured_on)}; "
        f"the expected calibration error there is {calibration.error:.1%} without it and "
        f"{calibration.error_scaled:.1%} with one of other images. "
        "Logits and classes are as the network gives them"
    )


def _on_other_data(run: RunDirectory, step: int) -> List[Result]:
    """Evaluations of the weights of a step, the newest last, on what the run wasn't trained on."""
    noted, data = run.data(), ("dataset", "data_dir", "split", "labels")
    return [
        other
        for other in run.other_results()
        if other.get("step") == step
        and _accuracies(other)
        and any(other.get(name) != noted.get(name) for name in data)
    ]


def _is_of(run: RunDirectory, result: Result) -> bool:
    """Whether a result is the run's own; before 0.2.0 one on other data could take its place."""
    data = run.config.data
    return "data_dir" in result or (
        result["dataset"] == data.dataset and data.eval_split in (None, result["split"])
    )
