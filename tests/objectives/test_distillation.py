"""The distillation loss against the paper's equations, written out in NumPy."""

import numpy as np
import pytest

from tf_simclrv2.keras2 import tf
from tf_simclrv2.objectives.distillation import cross_entropy, distillation_loss

RANDOM = np.random.RandomState(0)
STUDENT, TEACHER = RANDOM.normal(scale=3, size=(2, 6, 4)).astype(np.float32)
LABELLED = RANDOM.normal(scale=3, size=(3, 4)).astype(np.float32)
LABELS = np.array([1, 0, 3])


def _log_softmax(logits):
    return logits - np.log(np.exp(logits).sum(axis=-1, keepdims=True))


def _expected(temperature, alpha):
    """Equations 2 and 3, with means over examples instead of sums."""
    taught = 0.0
    for student, teacher in zip(STUDENT.astype(float), TEACHER.astype(float)):
        for y in range(4):
            p_teacher = np.exp(_log_softmax(teacher / temperature))[y]
            taught -= p_teacher * _log_softmax(student / temperature)[y]
    labelled = 0.0
    for logits, label in zip(LABELLED.astype(float), LABELS):
        labelled -= _log_softmax(logits)[label]
    return alpha * taught / len(STUDENT) + (1 - alpha) * labelled / len(LABELS)


@pytest.mark.parametrize("temperature", [0.1, 1.0, 4.0])
@pytest.mark.parametrize("alpha", [1.0, 0.7, 0.0])
def test_loss_is_that_of_the_equations(temperature, alpha):
    loss = distillation_loss(STUDENT, TEACHER, temperature, alpha, LABELS, LABELLED)
    assert float(loss) == pytest.approx(_expected(temperature, alpha), rel=1e-5)


def test_gradient_pulls_the_student_towards_the_teacher_only():
    student, teacher = tf.Variable(STUDENT), tf.Variable(TEACHER)
    with tf.GradientTape() as tape:
        loss = distillation_loss(student, teacher, temperature=2.0)
    gradient, none = tape.gradient(loss, [student, teacher])
    difference = tf.nn.softmax(STUDENT / 2) - tf.nn.softmax(TEACHER / 2)
    np.testing.assert_allclose(gradient, difference / (2 * len(STUDENT)), atol=1e-6)
    assert none is None


def test_true_labels_are_needed_below_alpha_1():
    with pytest.raises(ValueError, match=r"alpha=0\.5"):
        distillation_loss(STUDENT, TEACHER, alpha=0.5)


@pytest.mark.parametrize("dtype", [tf.float16, tf.bfloat16])
def test_losses_are_float32_whatever_the_logits_are(dtype):
    student, teacher = tf.cast(STUDENT, dtype), tf.cast(TEACHER, dtype)
    loss = distillation_loss(student, teacher, temperature=0.1)
    wide = distillation_loss(tf.cast(student, tf.float32), tf.cast(teacher, tf.float32), 0.1)
    assert loss.dtype == tf.float32
    assert float(loss) == float(wide)
    assert cross_entropy(LABELS, tf.cast(LABELLED, dtype)).dtype == tf.float32
