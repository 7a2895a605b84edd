"""Scores of a confusion matrix. NumPy only; all scores are fractions in [0, 1].

WA (weighted accuracy) is plain accuracy: every utterance counts the same. UA
(unweighted accuracy, UAR) is the mean of the class recalls: every class counts the
same. Everything is computed from the counts, so that a score can be recomputed by hand
from the matrix in results.json.
"""

import numpy as np


def confusion_matrix(labels, predictions, num_classes: int) -> np.ndarray:
    """Counts utterances by true and predicted class.

    Args:
      labels: Integers [U] in [0, num_classes), the true classes.
      predictions: Integers [U] in [0, num_classes), the decisions.
      num_classes: K, at least 1.

    Returns:
      int64 [K, K]; row = true class, column = predicted class.

    Raises:
      ValueError: Lengths differ, or a class index is out of range or no integer.
    """
    labels, predictions = np.asarray(labels), np.asarray(predictions)
    if labels.ndim != 1 or labels.shape != predictions.shape:
        raise ValueError(
            f"expected labels and predictions of one shape [U], got {labels.shape} and "
            f"{predictions.shape}; pass one class index per utterance in each"
        )
    for name, values in (("labels", labels), ("predictions", predictions)):
        if not values.size:
            continue
        whole = np.issubdtype(values.dtype, np.integer)
        if not whole or values.min() < 0 or values.max() >= num_classes:
            raise ValueError(
                f"expected {name} to be integers in [0, {num_classes}), got "
                f"{values.dtype} in [{values.min()}, {values.max()}]; leave unused "
                "utterances (label -1) out before scoring"
            )
    confusion = np.zeros((num_classes, num_classes), np.int64)
    np.add.at(confusion, (labels.astype(np.int64), predictions.astype(np.int64)), 1)
    return confusion


def recalls(confusion) -> np.ndarray:
    """Recall of every class.

    Args:
      confusion: Counts [K, K], rows true.

    Returns:
      float64 [K] in [0, 1]; NaN for a class that does not occur in the labels.
    """
    confusion = np.asarray(confusion, np.float64)
    support = confusion.sum(axis=1)
    hits = np.diagonal(confusion)
    return np.divide(hits, support, out=np.full(len(hits), np.nan), where=support > 0)


def weighted_accuracy(confusion) -> float:
    """WA: the share of utterances that are right; NaN without any utterance."""
    confusion = np.asarray(confusion, np.float64)
    total = confusion.sum()
    return float(np.trace(confusion) / total) if total else float("nan")


def unweighted_accuracy(confusion) -> float:
    """UA: mean recall over the classes that occur in the labels.

    A class without a test utterance has no recall and is left out of the mean, as in
    scikit-learn's `balanced_accuracy_score`. (Its `recall_score(average="macro")` takes
    such a class as recall 0 as soon as it is predicted once; the two agree when every
    class occurs.) NaN without any utterance.
    """
    values = recalls(confusion)
    seen = ~np.isnan(values)
    return float(values[seen].mean()) if seen.any() else float("nan")


def macro_f1(confusion) -> float:
    """Mean F1 over the classes that occur in the labels or in the predictions.

    F1 = 2 TP / (2 TP + FP + FN), scikit-learn's `f1_score(average="macro")` with its
    default set of classes. Zero division: a class that occurs in neither has no F1 and
    is left out; a class that occurs but is never hit has F1 = 0 (precision, recall or
    both are 0 or undefined). NaN without any utterance.
    """
    confusion = np.asarray(confusion, np.float64)
    hits = np.diagonal(confusion)
    occurrences = confusion.sum(axis=0) + confusion.sum(axis=1)  # 2 TP + FP + FN
    seen = occurrences > 0
    if not seen.any():
        return float("nan")
    return float((2 * hits[seen] / occurrences[seen]).mean())
