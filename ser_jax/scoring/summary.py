"""From the predictions of all runs to the scores that are reported."""

import collections
from collections.abc import Mapping, Sequence

import numpy as np

from ser_jax.scoring import metrics

SCORES = ("wa", "ua", "macro_f1")
_OWN = ("fold", "seed", *SCORES, "n_test", "best_epoch", "epochs", "absent_classes")


def summarise(
    predictions: Sequence, runs: Sequence[Mapping], classes: Sequence[str]
) -> dict:
    """Scores every run, their mean and spread, and all decisions pooled.

    `mean` and `std` are over runs (folds x seeds); `std` is the sample standard
    deviation (divisor n - 1), 0.0 for one run. `pooled` scores the sum of all runs'
    confusion matrices: an utterance counts once per run that tested it.

    Args:
      predictions: Every tested utterance of every run, any order; objects with
        `utterance, fold, seed, label, prediction`.
      runs: Per run, in the order of the table: `fold`, `seed`, `best_epoch` and
        `epochs` (None if unknown); further keys are kept.
      classes: K class names.

    Returns:
      `classes`, `runs`, `wa`, `ua`, `macro_f1` and `pooled` of results.json. Per run
      there is `absent_classes`: no test utterance, left out of its UA.

    Raises:
      ValueError: Runs and predictions do not match, an utterance is tested twice in
        one run, or a class is unknown.
    """
    by_run = _group(predictions, runs)
    scored, pooled = [], np.zeros((len(classes), len(classes)), np.int64)
    for meta in runs:
        labels, decided = _class_indices(by_run[meta["fold"], meta["seed"]], classes)
        confusion = metrics.confusion_matrix(labels, decided, len(classes))
        pooled += confusion
        scored.append(_score_run(meta, confusion, classes))
    return {
        "classes": classes,
        "runs": scored,
        **{key: _mean_std([run[key] for run in scored]) for key in SCORES},
        "pooled": {**_scores(confusion=pooled), "confusion": pooled},
    }


def _group(predictions, runs) -> dict:
    """Predictions by (fold, seed); the runs must be exactly those of `runs`."""
    by_run = collections.defaultdict(dict)
    for line in predictions:
        tested = by_run[line.fold, line.seed]
        if line.utterance in tested:
            raise ValueError(
                f"expected {line.utterance} once in fold {line.fold}, seed "
                f"{line.seed}, got it twice; test every utterance once per run"
            )
        tested[line.utterance] = line
    named = [(meta["fold"], meta["seed"]) for meta in runs]
    if len(set(named)) != len(named) or set(named) != set(by_run):
        raise ValueError(
            f"expected predictions of the runs {named}, got those of {list(by_run)}; "
            "each run needs at least one tested utterance and one entry"
        )
    return {run: list(tested.values()) for run, tested in by_run.items()}


def _class_indices(lines, classes) -> tuple[np.ndarray, np.ndarray]:
    index = {name: number for number, name in enumerate(classes)}
    for line in lines:
        for name in (line.label, line.prediction):
            if name not in index:
                raise ValueError(
                    f"expected one of the classes {list(classes)} for "
                    f"{line.utterance}, got {name!r}"
                )
    labels = [index[line.label] for line in lines]
    decided = [index[line.prediction] for line in lines]
    return np.array(labels, np.int64), np.array(decided, np.int64)


def _scores(confusion) -> dict:
    return {
        "wa": metrics.weighted_accuracy(confusion),
        "ua": metrics.unweighted_accuracy(confusion),
        "macro_f1": metrics.macro_f1(confusion),
    }


def _score_run(meta, confusion, classes) -> dict:
    support = confusion.sum(axis=1)
    return {
        "fold": meta["fold"],
        "seed": meta["seed"],
        **_scores(confusion),
        "n_test": int(support.sum()),
        "best_epoch": meta["best_epoch"],
        "epochs": meta["epochs"],
        "absent_classes": [classes[index] for index in np.flatnonzero(support == 0)],
    } | {key: value for key, value in meta.items() if key not in _OWN}


def _mean_std(values) -> dict:
    spread = float(np.std(values, ddof=1)) if len(values) > 1 else 0.0
    return {"mean": float(np.mean(values)), "std": spread}
