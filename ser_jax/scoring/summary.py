"""From the predictions of all runs to the scores that are reported."""

import collections
from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from ser_jax.scoring import bootstrap, metrics

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
    deviation (divisor n - 1), 0.0 for one run. `std_folds` is that of the folds' means
    over seeds, `std_seeds` that of the seeds' means over folds. `pooled` scores the sum
    of all runs' confusion matrices: an utterance counts once per run that tested it.

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
      `classes`, `runs`, `wa`, `ua`, `macro_f1`, `pooled` and `averaged` (see
      `average_seeds`) of results.json. Per run there is `absent_classes`: no test
      utterance, left out of its UA, and `ua_of_all`, in which their recall is 0.

    Raises:
      ValueError: Runs and predictions do not match, an utterance is tested twice in
        one run, or a class is unknown.
    """
    by_run = _group(predictions, runs)
    confusions = [count_decisions(by_run[_key(x)].values(), classes) for x in runs]
    return {
        "classes": classes,
        **score_runs(runs, confusions, classes),
        "averaged": average_seeds(counted(predictions, runs), classes),
    }


def score_runs(
    runs: Sequence[Mapping], confusions: Sequence, classes: Sequence[str]
) -> dict:
    """`runs`, `wa`, `ua`, `macro_f1` and `pooled` of `summarise`.

    From each run's decisions, counted in a confusion matrix [K, K].
    """
    confusions = np.asarray(confusions, np.int64)
    scored = [_score_run(*x, classes) for x in zip(runs, confusions, strict=True)]
    pooled = confusions.sum(axis=0)
    return {
        "runs": scored,
        **{key: _spread(scored, key) for key in SCORES},
        "pooled": {**_scores(pooled), "confusion": pooled},
    }


def check(predictions: Sequence, classes: Sequence[str], results: Mapping) -> None:
    """Raises ValueError or KeyError unless `results`, of results.json, score these."""
    by_run = _group(predictions, results["runs"])
    tested = [line for run in by_run.values() for line in run.values()]
    counts = count_decisions(tested, classes)
    if [*classes] != results["classes"]:
        raise ValueError(f"classes {classes} and {results['classes']}")
    if not np.array_equal(counts, results["pooled"]["confusion"]):
        raise ValueError("other decisions than in the confusion matrix")


def average_seeds(predictions: Sequence, classes: Sequence[str]) -> dict:
    """Scores of what all seeds decide together, from the mean of their posteriors.

    An utterance counts once per fold, however many seeds tested it.

    Returns:
      `wa`, `ua`, `macro_f1`, `confusion`, `seeds` and `speakers` (their numbers),
      `ua_interval` [low, high] and `interval_over`, see `bootstrap.ua_interval`.
    """
    seeds = len({line.seed for line in predictions})
    labels, decided, speakers = map(
        np.array, zip(*decisions(predictions, classes).values(), strict=True)
    )
    confusion = metrics.confusion_matrix(labels, decided, len(classes))
    return {
        **_scores(confusion),
        "confusion": confusion,
        "seeds": seeds,
        "speakers": len(set(speakers)),
        "ua_interval": bootstrap.ua_interval(labels, labels == decided, speakers),
        "interval_over": bootstrap.drawn(speakers),
    }


def decisions(
    predictions: Iterable, classes: Sequence[str]
) -> dict[tuple[str, str], tuple[int, int, str]]:
    """(Fold, utterance) -> (class, the decision of all seeds together, speaker).

    They decide by the mean of their posteriors.
    """
    same = collections.defaultdict(list)
    for line in predictions:
        same[line.fold, line.utterance].append(line)
    return {
        key: (classes.index(lines[0].label), _decide(lines, classes), lines[0].speaker)
        for key, lines in same.items()
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
        "ua_of_all": float(np.nan_to_num(metrics.recalls(confusion)).mean()),
        "n_test": int(support.sum()),
        "best_epoch": meta["best_epoch"],
        "epochs": meta["epochs"],
        "absent_classes": [classes[index] for index in np.flatnonzero(support == 0)],
    }
    return run | {key: value for key, value in meta.items() if key not in run}


def _decide(lines: Sequence, classes: Sequence[str]) -> int:
    if len(lines) == 1:
        return classes.index(lines[0].prediction)
    return int(np.mean([line.posteriors for line in lines], axis=0).argmax())


def _spread(runs: Sequence[Mapping], key: str) -> dict:
    by_fold, by_seed = (collections.defaultdict(list) for _ in "ab")
    for run in runs:
        by_fold[run["fold"], run.get("tested", "")].append(run[key])
        by_seed[run["seed"]].append(run[key])
    values = [run[key] for run in runs]
    return {
        "mean": float(np.mean(values)),
        "std": _std(values),
        "std_folds": _std([np.mean(x) for x in by_fold.values()]),
        "std_seeds": _std([np.mean(x) for x in by_seed.values()]),
    }


def _std(values) -> float:
    return float(np.std(values, ddof=1)) if len(values) > 1 else 0.0
