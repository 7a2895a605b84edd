"""Trainings on some corpora, tested on others: a score for each, and what gives away which."""

import collections
from collections.abc import Sequence

import numpy as np

from ser_jax.corpora.several import corpus_of
from ser_jax.scoring import corpus_probe, transfer
from ser_jax.training.experiment import Experiment
from ser_jax.workdir import provenance
from ser_jax.workdir.predictions import Prediction

PROBED = 200  # utterances of each corpus that the probe reads, at most


def cells(experiment: Experiment, lines: Sequence[Prediction], config) -> list[dict]:
    """Scores by trained and tested corpora, seeds averaged first.

    `train` (names), `test`, `own` (whether the tested one is the only one that trained;
    its speakers did not) and what `transfer.score` returns. Of splits that have every
    corpus in training, all folds make a cell.
    """
    names, split = sorted({line.corpus for line in lines}), config.protocol.split
    trained = {fold.name: fold for fold in (run.fold for run in experiment.runs)}

    def sources(fold: str) -> tuple[str, ...]:
        if split == "pairs":
            return (fold,)
        return tuple(x for x in names if split != "corpus" or x != fold)

    grouped = collections.defaultdict(lambda: collections.defaultdict(list))
    for line in lines:
        grouped[sources(line.fold), line.corpus][line.fold, line.utterance].append(line)
    table = []
    for (source, target), tested in sorted(grouped.items()):
        folds = {fold for fold, _ in tested}
        counts = sum(_class_counts(experiment, trained[fold].train) for fold in folds)
        first = [same[0] for same in tested.values()]
        score = transfer.score(
            [np.mean([x.posteriors for x in same], axis=0) for same in tested.values()],
            [experiment.classes.index(line.label) for line in first],
            experiment.classes,
            counts,
            [line.speaker for line in first],
            balanced=provenance.weighs_classes_equally(config.train),
        )
        own = source == (target,)
        table.append({"train": list(source), "test": target, "own": own, **score})
    return table


def _class_counts(experiment: Experiment, part: Sequence[int]) -> np.ndarray:
    return np.bincount(experiment.labels[list(part)], minlength=len(experiment.classes))


def probe(trainer, weights: list) -> dict:
    """How well what the output layer reads tells the corpora apart, mean of all runs.

    `accuracy` and `chance`; see `corpus_probe.accuracy`. At most `PROBED` utterances of
    each corpus are read, evenly over its ids.
    """
    experiment = trainer.experiment
    corpora = np.array([corpus_of(u) for u in experiment.utterances])
    chosen = []
    for name in np.unique(corpora):
        members = np.flatnonzero(corpora == name)
        evenly = np.linspace(0, len(members) - 1, min(len(members), PROBED))
        chosen += members[evenly.astype(int)].tolist()
    chosen = sorted(chosen)
    segments = experiment.test_segments.take(chosen)
    embeddings = trainer.embeddings(weights, [segments] * len(experiment.runs))
    speakers = [experiment.utterances[u].speaker for u in chosen]
    scores = [corpus_probe.accuracy(x, corpora[chosen], speakers) for x in embeddings]
    return {
        "accuracy": float(np.mean(scores)),
        "chance": 1 / len(np.unique(corpora)),
        "utterances": len(chosen),
    }
