"""Two trainings on the same utterances: what both decided, tested speaker by speaker."""

from ser_jax.report.document import TEXTS
from ser_jax.scoring import paired, summary
from ser_jax.workdir.contents import WorkdirContents


def difference(
    training: WorkdirContents, base: WorkdirContents
) -> paired.Difference | None:
    """UA of a training less that of another, seeds averaged; None if untestable.

    They must have tested the same utterances in the same folds.
    """
    if why_not(training) or why_not(base):
        return None
    other, mine = (
        summary.decisions(one.predictions, one.classes) for one in (base, training)
    )
    labels, first, speakers = zip(*(mine[key] for key in other), strict=True)
    _, second, _ = zip(*other.values(), strict=True)
    return paired.compare(labels, first, second, speakers)


def why_not(training: WorkdirContents) -> str:
    """Why there is no test, as a sentence; empty if there is one."""
    if not _keeps_speakers_apart(training):
        return TEXTS["comparison"]["leaking"]
    if len({line.speaker for line in training.predictions}) < 2:
        return TEXTS["comparison"]["one_speaker"]
    return ""


def _keeps_speakers_apart(training: WorkdirContents) -> bool:
    """Whether the workdir says so; corpora that are apart share no speakers."""
    promises = training.results["protocol"].get("promises", ())
    kept = [x for x in promises if x.endswith("is in both training and test")]
    return any("no speaker" in x or "no corpus" in x for x in kept)
