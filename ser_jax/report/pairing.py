"""Trainings on the same utterances: what each decided, tested speaker by speaker."""

from collections.abc import Callable, Sequence

import numpy as np

from ser_jax.report.document import TEXTS
from ser_jax.scoring import metrics, paired, ranks, summary
from ser_jax.workdir import results
from ser_jax.workdir.contents import WorkdirContents
from ser_jax.workdir.provenance import REPEATED_SENTENCES, stamps


def difference(
    training: WorkdirContents, base: WorkdirContents
) -> paired.Difference | None:
    """UA of a training less that of another, seeds averaged; None if untestable.

    They must have tested the same utterances in the same folds, and hold the
    predictions that count, as the report reads them. If both have several
    seeds, the interval draws them as well.
    """
    if why_not(training) or why_not(base):
        return None
    classes = sorted({*training.classes, *base.classes})
    other, mine = (
        summary.decisions(one.predictions, one.classes) for one in (base, training)
    )
    labels, first, speakers = zip(*(mine[key] for key in other), strict=True)
    _, second, _ = zip(*other.values(), strict=True)
    place = _places(training, classes)
    return paired.compare(
        place[list(labels)],
        place[list(first)],
        _places(base, classes)[list(second)],
        speakers,
        draw_seeds=_draw_seeds(training, base, list(other), classes),
    )


def _places(training: WorkdirContents, classes: Sequence[str]) -> np.ndarray:
    """Where its classes are among `classes`: workdirs may order them otherwise."""
    return np.array([classes.index(name) for name in training.classes])


def rank(trainings: Sequence[WorkdirContents]) -> ranks.Ranks | None:
    """Ranks three trainings or more by the UA of each speaker; None if untestable."""
    if len(trainings) < ranks.MIN_SYSTEMS or any(map(why_not, trainings)):
        return None
    scores = [_ua_by_speaker(training) for training in trainings]
    return ranks.rank([[one[name] for one in scores] for name in sorted(scores[0])])


def _ua_by_speaker(training: WorkdirContents) -> dict[str, float]:
    decided = summary.decisions(training.predictions, training.classes)
    size = len(training.classes)
    confusions = {}
    for label, decision, speaker in decided.values():
        counts = confusions.setdefault(speaker, np.zeros((size, size), np.int64))
        counts[label, decision] += 1
    return {x: metrics.unweighted_accuracy(c) for x, c in confusions.items()}


def _draw_seeds(training, base, keys, classes) -> Callable | None:
    """Decisions of both, by seeds drawn with replacement; None if one has only one."""
    posteriors = [_by_seed(one, keys) for one in (training, base)]
    if min(map(len, posteriors)) < 2:
        return None
    places = [_places(one, classes) for one in (training, base)]

    def draw(rng: np.random.Generator) -> tuple[np.ndarray, ...]:
        chosen = (rng.integers(len(one), size=len(one)) for one in posteriors)
        drawn = zip(places, posteriors, chosen, strict=True)
        return tuple(at[x[s].mean(axis=0).argmax(axis=1)] for at, x, s in drawn)

    return draw


def _by_seed(training: WorkdirContents, keys) -> np.ndarray:
    """Posteriors [seeds, N, K] of the utterances `keys`; empty if a seed has not all."""
    found = {(x.seed, x.fold, x.utterance): x.posteriors for x in training.predictions}
    seeds = sorted({line.seed for line in training.predictions})
    if len(found) != len(seeds) * len(keys):
        return np.zeros((0, len(keys), len(training.classes)))
    return np.array([[found[seed, *key] for key in keys] for seed in seeds])


def why_not(training: WorkdirContents) -> str:
    """Why there is no test, as a sentence; empty if there is one."""
    texts, leaks = TEXTS["comparison"], training.results["protocol"].get("leaks")
    if training.results["selection"] == "test":
        return texts["paper_mode"]
    # Corpora that are apart share no speakers.
    kept = results.kept_apart(training.results["protocol"])
    if kept.isdisjoint({"speaker", "corpus"}):
        return texts["leaking"]
    if leaks:
        return texts["recordings"].format("; ".join(leaks))
    if REPEATED_SENTENCES in stamps(training.results):
        return texts["sentences"]
    if len({line.speaker for line in training.predictions}) < 2:
        return texts["one_speaker"]
    return ""
