"""Temperature, calibration error and risk by coverage, against equations and known temperatures."""

import json

import numpy as np
import pytest

from tf_simclrv2.evaluation import calibration
from tf_simclrv2.runtime import calibration_file
from tf_simclrv2.runtime.calibration_file import Calibration


def _drawn(temperature, count=4000, classes=4, seed=0):
    """Logits that are too large by a factor, and labels drawn by the probabilities they hide."""
    random = np.random.RandomState(seed)
    honest = 2 * random.normal(size=(count, classes))
    shares = np.exp(honest) / np.exp(honest).sum(axis=1, keepdims=True)
    labels = (random.uniform(size=(count, 1)) > shares.cumsum(axis=1)).sum(axis=1)
    return temperature * honest, labels


def _probabilities(logits):
    found = np.exp(logits - logits.max(axis=1, keepdims=True))
    return found / found.sum(axis=1, keepdims=True)


@pytest.mark.parametrize("temperature", [0.4, 1.0, 3.0])
def test_the_temperature_undoes_what_made_a_classifier_too_sure(temperature):
    logits, labels = _drawn(temperature)
    assert calibration.temperature(logits, labels) == pytest.approx(temperature, rel=0.08)
    right = logits.argmax(axis=1) == labels
    before = calibration.error(_probabilities(logits).max(axis=1), right)
    after = calibration.error(calibration.cross_scaled(logits, labels).max(axis=1), right)
    assert after < 0.025
    assert temperature == 1.0 or before > 3 * after


def test_the_temperature_of_few_images_stays_finite():
    logits = 3.0 * np.eye(4)[[0, 1, 2, 3] * 6]
    found = calibration.temperature(logits, np.array([0, 1, 2, 3] * 6))
    # All right: as sure as 25 of 26, so exp(3 / T) is 25 times 3 others.
    assert found == pytest.approx(3 / np.log(25 * 3), rel=1e-3)


def test_scaled_probabilities_know_nothing_of_their_own_label():
    logits, labels = _drawn(2.0, count=25)
    scaled = calibration.cross_scaled(logits, labels)
    changed = labels.copy()
    changed[3] = (labels[3] + 1) % 4
    np.testing.assert_array_equal(calibration.cross_scaled(logits, changed)[3], scaled[3])
    assert np.abs(calibration.cross_scaled(logits, changed) - scaled).max() > 1e-3
    np.testing.assert_allclose(scaled.sum(axis=1), 1)


def test_many_logits_are_sampled(monkeypatch):
    logits, labels = _drawn(2.0)
    monkeypatch.setattr(calibration, "_MOST_LOGITS", 8000)
    assert calibration.temperature(logits, labels) == pytest.approx(
        calibration.temperature(logits[::2], labels[::2])
    )


def test_the_calibration_error_is_the_mean_gap_of_the_bins():
    random = np.random.RandomState(3)
    confidences, right = random.uniform(size=300), random.uniform(size=300) < 0.6
    gap = 0.0
    for number in range(15):
        inside = (confidences > number / 15) & (confidences <= (number + 1) / 15)
        gap += inside.sum() / 300 * abs(confidences[inside].mean() - right[inside].mean())
    assert calibration.error(confidences, right) == pytest.approx(gap)
    ends = calibration.reliability(np.array([0.0, 1.0, 1 / 15]), np.array([True, True, False]))
    assert ends.images.tolist() == [2, *[0] * 13, 1]
    assert ends.accuracy[0] == 0.5


def test_risk_by_coverage_gives_the_surest_answers_first():
    confidences = np.array([0.9, 0.5, 0.8, 0.8, 0.3])
    right = np.array([True, False, True, False, True])
    curve = calibration.risk_coverage(confidences, right)
    assert [tuple(point) for point in curve.points] == [
        (0.9, pytest.approx(0.2), 0.0),
        (0.8, pytest.approx(0.6), pytest.approx(1 / 3)),
        (0.5, pytest.approx(0.8), 0.5),
        (0.3, 1.0, pytest.approx(0.4)),
    ]
    assert curve.largest_coverage(0.0).coverage == pytest.approx(0.2)
    assert curve.largest_coverage(0.45).coverage == 1.0
    assert calibration.risk_coverage(confidences, ~right).largest_coverage(0.3) is None
    many = calibration.risk_coverage(np.linspace(0, 1, 5000), np.ones(5000, bool))
    assert len(many.points) == 1000
    assert (many.points[-1].coverage, many.points[0].coverage) == (1.0, 1 / 5000)


def _calibration(temperature=2.0, is_own=True):
    curve = calibration.risk_coverage(np.array([0.9, 0.4]), np.array([True, False]))
    return Calibration(temperature, "2 images", is_own, 0.1, 0.05, curve)


def test_a_run_keeps_the_calibration_of_each_step(tmp_path, caplog):
    run = str(tmp_path)
    assert calibration_file.read(run, 4) is None
    calibration_file.write(run, 4, _calibration())
    calibration_file.write(run, 8, _calibration(3.0, is_own=False))
    assert calibration_file.read(run, 4) == _calibration()
    # One on other images gives way to one on the run's own, and not the other way round.
    calibration_file.write(run, 4, _calibration(5.0, is_own=False))
    calibration_file.write(run, 8, _calibration(6.0))
    assert [calibration_file.read(run, step).temperature for step in (4, 8)] == [2.0, 6.0]
    assert not caplog.records


@pytest.mark.parametrize(
    "content",
    ["", "[]", "{}", '{"steps": 3}', '{"steps": {"4": 3}}', '{"steps": {"4": {"curve": {}}}}',
     '{"steps": {"4": {"temperature": "x"}}}'],
)  # fmt: skip
def test_a_damaged_calibration_counts_as_none(tmp_path, content):
    (tmp_path / "calibration.json").write_text(content)
    assert calibration_file.read(str(tmp_path), 4) is None
    calibration_file.write(str(tmp_path), 4, _calibration())
    assert calibration_file.read(str(tmp_path), 4) == _calibration()


@pytest.mark.parametrize("temperature", [0.0, -1.0, float("nan"), float("inf"), None])
def test_no_temperature_but_a_positive_number_is_taken(temperature):
    content = json.loads(json.dumps(_calibration().as_json()))
    assert Calibration.of_json(content) == _calibration()
    with pytest.raises((ValueError, TypeError)):
        Calibration.of_json({**content, "temperature": temperature})
