"""Trainings on some corpora, tested on others: a score for each, and what gives away which."""

import collections
from collections.abc import Sequence

import numpy as np

from ser_jax.corpora.several import corpus_of
from ser_jax.scoring import corpus_probe, transfer
from ser_jax.training.experiment import Experiment
from ser_jax.workdir.predictions import Prediction

PROBED = 200  # utterances of each corpus that the probe reads, at most


def cells(experiment: Experiment, lines: Sequence[Prediction], config) -> list[dict]:
    """Scores by trained and tested corpora, seeds averaged first.

    `train` (names of those in the training part), `test`, `own` (whether the tested one
    is the only one that trained; its speakers did not) and what `transfer.score` returns.
    Folds that train on the same corpora make a cell.
    """
    folds = {(run.fold.name, run.fold.seed): run.fold for run in experiment.runs}
    corpora = [corpus_of(utterance) for utterance in experiment.utterances]
    sources = {
        key: tuple(sorted({corpora[i] for i in fold.train}))
        for key, fold in folds.items()
    }
    grouped = collections.defaultdict(list)
    for line in lines:
        grouped[sources[line.fold, line.seed], line.corpus].append(line)
    table = []
    for (source, target), tested in sorted(grouped.items()):
        trained = dict.fromkeys((line.fold, line.seed) for line in tested)
        parts = [list(folds[key].train) for key in trained]
        counts, seen = _trained_on(experiment, parts, corpora, config.train)
        by_seed = collections.defaultdict(list)
        for line in tested:
            by_seed[line.fold, line.utterance].append(line)
        first = [same[0] for same in by_seed.values()]
        score = transfer.score(
            [
                np.mean([x.posteriors for x in same], axis=0)
                for same in by_seed.values()
            ],
            [experiment.classes.index(line.label) for line in first],
            experiment.classes,
            counts,
            [line.speaker for line in first],
            seen=seen,
        )
        own = source == (target,)
        table.append({"train": list(source), "test": target, "own": own, **score})
    return table


def _trained_on(experiment, parts, corpora: Sequence[str], train):
    """Utterances of each class [K] in all parts, and how much of each was seen [K]."""
    size, labels = len(experiment.classes), experiment.labels
    counts, seen = np.zeros(size, int), np.zeros(size)
    for part in parts:
        counts += np.bincount(labels[part], None, size)
        seen += transfer.seen_counts(
            labels[part],
            [corpora[i] for i in part],
            size,
            sampling=train.sampling,
            weights=train.class_weights,
        )
    return counts, seen


def probe(trainer, weights: list) -> dict | None:
    """How well what the output layer reads tells the corpora apart, mean of all runs.

    `accuracy`, `chance`, the number of `utterances` and what of them is `unknown`; see
    `corpus_probe`. At most `PROBED` utterances of each corpus are read, evenly over its
    ids. None if a corpus has only one, which cannot be learnt and asked for.
    """
    experiment = trainer.experiment
    corpora = np.array([corpus_of(u) for u in experiment.utterances])
    chosen = []
    for name in np.unique(corpora):
        members = np.flatnonzero(corpora == name)
        evenly = np.linspace(0, len(members) - 1, min(len(members), PROBED))
        chosen += members[evenly.astype(int)].tolist()
    chosen = sorted(chosen)
    if np.unique(corpora[chosen], return_counts=True)[1].min() < 2:
        return None
    segments = experiment.test_segments.take(chosen)
    embeddings = trainer.embeddings(weights, [segments] * len(experiment.runs))
    speakers = [experiment.utterances[u].speaker for u in chosen]
    scores = [corpus_probe.accuracy(x, corpora[chosen], speakers) for x in embeddings]
    return {
        "accuracy": float(np.mean(scores)),
        "chance": 1 / len(np.unique(corpora)),
        "utterances": len(chosen),
        "unknown": corpus_probe.unknown(corpora[chosen], speakers),
    }
