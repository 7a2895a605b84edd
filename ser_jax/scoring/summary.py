"""From the predictions of all runs to the scores that are reported."""

import collections
from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from ser_jax.scoring import metrics

SCORES = {
    "wa": metrics.weighted_accuracy,
    "ua": metrics.unweighted_accuracy,
    "macro_f1": metrics.macro_f1,
}


def summarise(
    predictions: Sequence, runs: Sequence[Mapping], classes: Sequence[str]
) -> dict:
    """Scores every run, their mean and spread, and all decisions pooled.

    `mean` and `std` are over runs (folds x seeds); `std` is the sample standard
    deviation (divisor n - 1), 0.0 for one run. `pooled` scores the sum of all runs'
    confusion matrices: an utterance counts once per run that tested it.

    Where runs are tested on other corpora than they train on (protocol `pairs`), each
    corpus scores by itself, and the trained one's own does not count.

    Args:
      predictions: Every tested utterance of every run, any order; objects with
        `utterance, fold, seed, label, prediction` and, for `tested`, `corpus`.
      runs: Per run, in the order of the table: `fold`, `seed`, `best_epoch` and
        `epochs` (None if unknown); further keys are kept. With `tested`, the corpus that
        is scored, there is one entry per run and corpus.
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
        tested = by_run[_key(meta)]
        confusion = count_decisions(tested.values(), classes)
        pooled += confusion
        scored.append(_score_run(meta, confusion, classes))
    return {
        "classes": classes,
        "runs": scored,
        **{key: _mean_std([run[key] for run in scored]) for key in SCORES},
        "pooled": {**_scores(pooled), "confusion": pooled},
    }


def counted(predictions: Iterable, runs: Sequence[Mapping]) -> list:
    """The predictions that count: but for those on the corpus a run was trained on."""
    by_corpus = any("tested" in meta for meta in runs)
    return [x for x in predictions if not (by_corpus and x.corpus == x.fold)]


def _group(predictions, runs) -> dict:
    """{(fold, seed, tested): {utterance: prediction}} of exactly those of `runs`."""
    by_run = collections.defaultdict(dict)
    by_corpus = any("tested" in meta for meta in runs)
    for line in counted(predictions, runs):
        key = (line.fold, line.seed, line.corpus if by_corpus else "")
        tested = by_run[key]
        if line.utterance in tested:
            raise ValueError(
                f"expected {line.utterance} once in fold {line.fold}, seed "
                f"{line.seed}, got it twice; test every utterance once per run"
            )
        tested[line.utterance] = line
    named = [_key(meta) for meta in runs]
    if len(set(named)) != len(named) or set(named) != set(by_run):
        raise ValueError(
            f"expected predictions of the runs {named}, got those of {list(by_run)}; "
            "each run needs at least one tested utterance and one entry"
        )
    return by_run


def _key(meta: Mapping) -> tuple:
    return meta["fold"], meta["seed"], meta.get("tested", "")


def count_decisions(predictions: Iterable, classes: Sequence[str]) -> np.ndarray:
    """The confusion matrix [K, K] of predictions; ValueError for an unknown class."""
    index = {name: number for number, name in enumerate(classes)}
    confusion = np.zeros((len(classes), len(classes)), np.int64)
    for line in predictions:
        for name in (line.label, line.prediction):
            if name not in index:
                raise ValueError(
                    f"expected one of the classes {list(classes)} for "
                    f"{line.utterance}, got {name!r}"
                )
        confusion[index[line.label], index[line.prediction]] += 1
    return confusion


def _scores(confusion) -> dict[str, float]:
    return {key: score(confusion) for key, score in SCORES.items()}


def _score_run(meta, confusion, classes) -> dict:
    support = confusion.sum(axis=1)
    run = {
        "fold": meta["fold"],
        "seed": meta["seed"],
        **_scores(confusion),
        "n_test": int(support.sum()),
        "best_epoch": meta["best_epoch"],
        "epochs": meta["epochs"],
        "absent_classes": [classes[index] for index in np.flatnonzero(support == 0)],
    }
    return run | {key: value for key, value in meta.items() if key not in run}


def _mean_std(values) -> dict:
    spread = float(np.std(values, ddof=1)) if len(values) > 1 else 0.0
    return {"mean": float(np.mean(values)), "std": spread}
