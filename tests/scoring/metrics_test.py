"""Scores against hand-computed values and against scikit-learn."""

import numpy as np
import pytest
from sklearn import metrics as sklearn_metrics

from ser_jax.scoring import metrics

LABELS = np.array([0, 0, 0, 1, 1, 2])
DECIDED = np.array([0, 0, 1, 1, 2, 0])


def test_rows_of_the_confusion_matrix_are_the_true_classes():
    confusion = metrics.confusion_matrix(LABELS, DECIDED, 4)
    expected = [[2, 1, 0, 0], [0, 1, 1, 0], [1, 0, 0, 0], [0, 0, 0, 0]]
    assert confusion.dtype == np.int64
    np.testing.assert_array_equal(confusion, expected)


def test_scores_by_hand_leave_the_absent_class_out():
    confusion = metrics.confusion_matrix(LABELS, DECIDED, 4)
    assert metrics.weighted_accuracy(confusion) == 3 / 6
    # Recalls 2/3, 1/2, 0; the fourth class does not occur.
    assert metrics.unweighted_accuracy(confusion) == pytest.approx((2 / 3 + 1 / 2) / 3)
    # F1: 4 / (3 + 3), 2 / (2 + 2), 0 / (1 + 1).
    assert metrics.macro_f1(confusion) == pytest.approx((2 / 3 + 1 / 2) / 3)
    np.testing.assert_allclose(metrics.recalls(confusion), [2 / 3, 1 / 2, 0, np.nan])


def test_class_predicted_but_never_true_counts_in_f1_only():
    confusion = np.array([[3, 1], [0, 0]])
    assert metrics.unweighted_accuracy(confusion) == 0.75
    assert metrics.macro_f1(confusion) == pytest.approx((6 / 7 + 0) / 2)


@pytest.mark.parametrize("num_classes", [2, 4, 7])
def test_scores_equal_scikit_learn(num_classes):
    rng = np.random.default_rng(num_classes)
    labels = np.concatenate(
        [np.arange(num_classes), rng.integers(num_classes, size=90)]
    )
    guessed = rng.integers(num_classes, size=labels.size)
    decided = np.where(rng.random(labels.size) < 0.4, labels, guessed)
    confusion = metrics.confusion_matrix(labels, decided, num_classes)
    # 1e-12: the same float64 sums in another order.
    close = {"rel": 1e-12}
    ua = sklearn_metrics.recall_score(labels, decided, average="macro")
    f1 = sklearn_metrics.f1_score(labels, decided, average="macro")
    wa = sklearn_metrics.accuracy_score(labels, decided)
    assert metrics.unweighted_accuracy(confusion) == pytest.approx(ua, **close)
    assert metrics.macro_f1(confusion) == pytest.approx(f1, **close)
    assert metrics.weighted_accuracy(confusion) == pytest.approx(wa, **close)


def test_absent_classes_follow_scikit_learn():
    labels, decided = [0, 0, 2, 2, 2], [0, 3, 2, 0, 2]  # 1 nowhere, 3 only predicted
    confusion = metrics.confusion_matrix(np.array(labels), np.array(decided), 5)
    f1 = sklearn_metrics.f1_score(labels, decided, average="macro", zero_division=0)
    assert metrics.macro_f1(confusion) == pytest.approx(f1)
    with pytest.warns(UserWarning, match="y_pred contains classes"):
        balanced = sklearn_metrics.balanced_accuracy_score(labels, decided)
    assert metrics.unweighted_accuracy(confusion) == pytest.approx(balanced)


def test_nothing_to_score_is_nan():
    empty = metrics.confusion_matrix([], [], 3)
    for score in (metrics.weighted_accuracy, metrics.unweighted_accuracy):
        assert np.isnan(score(empty))
    assert np.isnan(metrics.macro_f1(empty))


@pytest.mark.parametrize(
    ("labels", "decided", "said"),
    [
        ([0, 1], [0], r"\(2,\) and \(1,\)"),
        ([0, -1], [0, 0], "labels to be integers"),
        ([0, 1], [0, 3], "predictions to be integers"),
        ([0, 1], [0.0, 1.0], "float64"),
    ],
)
def test_bad_indices_are_refused(labels, decided, said):
    with pytest.raises(ValueError, match=said):
        metrics.confusion_matrix(labels, decided, 3)
