"""Scores of a confusion matrix. NumPy only.

All take counts [K, K], rows true, so that they can be recomputed by hand from the
matrix in results.json. Scores are fractions in [0, 1], NaN where nothing was tested.
"""

import numpy as np


def confusion_matrix(labels, predictions, num_classes: int) -> np.ndarray:
    """Counts utterances: int64 [K, K]; row = true class, column = predicted class.

    Raises:
      ValueError: `labels` and `predictions` are not integers [U] in [0, num_classes).
    """
    labels, predictions = np.asarray(labels), np.asarray(predictions)
    if labels.ndim != 1 or labels.shape != predictions.shape:
        raise ValueError(
            f"expected labels and predictions of one shape [U], got {labels.shape} and "
            f"{predictions.shape}; pass one class index per utterance in each"
        )
    remedy = "leave unused utterances (label -1) out before scoring"
    labels = check_indices("labels", labels, num_classes, remedy)
    predictions = check_indices("predictions", predictions, num_classes, remedy)
    confusion = np.zeros((num_classes, num_classes), np.int64)
    np.add.at(confusion, (labels, predictions), 1)
    return confusion


def check_indices(name: str, values: np.ndarray, size: int, remedy: str) -> np.ndarray:
    """`values` as int64; a ValueError if they are no integers in [0, size)."""
    whole = np.issubdtype(values.dtype, np.integer)
    if values.size and (not whole or values.min() < 0 or values.max() >= size):
        raise ValueError(
            f"expected {name} to be integers in [0, {size}), got {values.dtype} in "
            f"[{values.min()}, {values.max()}]; {remedy}"
        )
    return values.astype(np.int64)


def recalls(confusion) -> np.ndarray:
    """Recall of every class, float64 [K]; NaN if it does not occur in the labels."""
    confusion = np.asarray(confusion, np.float64)
    support = confusion.sum(axis=1)
    hits = np.diagonal(confusion)
    return np.divide(hits, support, out=np.full(len(hits), np.nan), where=support > 0)


def weighted_accuracy(confusion) -> float:
    """WA, plain accuracy: every utterance counts the same."""
    confusion = np.asarray(confusion, np.float64)
    total = confusion.sum()
    return float(np.trace(confusion) / total) if total else float("nan")


def unweighted_accuracy(confusion) -> float:
    """UA (UAR), mean recall of the classes that occur in the labels: each counts the same.

    As scikit-learn's `balanced_accuracy_score`. (Its `recall_score(average="macro")`
    takes an absent class as recall 0 as soon as it is predicted once.)
    """
    values = recalls(confusion)
    seen = ~np.isnan(values)
    return float(values[seen].mean()) if seen.any() else float("nan")


def macro_f1(confusion) -> float:
    """Mean F1 over the classes that occur in the labels or in the predictions.

    F1 = 2 TP / (2 TP + FP + FN), scikit-learn's `f1_score(average="macro")` with its
    default set of classes; a class that occurs but is never hit has F1 = 0.
    """
    confusion = np.asarray(confusion, np.float64)
    hits = np.diagonal(confusion)
    occurrences = confusion.sum(axis=0) + confusion.sum(axis=1)  # 2 TP + FP + FN
    seen = occurrences > 0
    if not seen.any():
        return float("nan")
    return float((2 * hits[seen] / occurrences[seen]).mean())
