"""What the report says in words about protocols and stamps."""

from collections.abc import Mapping

import numpy as np

from ser_jax.report import text_overlap

LEGEND = (
    "Scores are percent. WA: accuracy. UA: mean of the class recalls. std: sample "
    "standard deviation over runs (divisor n - 1). Pooled: all runs' decisions in one "
    "matrix."
)
BANNERS = {
    "synthetic corpus": (
        "**Synthetic corpus.** The speech is made by a synthesiser to show that the "
        "program works. The numbers say nothing about human emotion and must not be "
        "compared with published ones."
    ),
    "paper mode: epoch chosen on test data": (
        "**Paper mode: epoch chosen on test data.** The epoch that scores best on the "
        "test part is reported, as some papers do. The numbers are optimistic; use "
        "`--config.protocol.selection=val` for honest ones."
    ),
    "test sentences also in training": (
        "**Test sentences also in training.** The model reads words, and many that it "
        "is tested on were trained on, so that the numbers are partly memory. IEMOCAP's "
        "sessions act the same scripts: `--config.protocol.split=session5_script` keeps "
        "them apart, `--config.protocol.subset=improvised` leaves them out. In other "
        "corpora `split=group` with `group_by=text` keeps sentences apart."
    ),
}
SPLITS = {
    "session5": "leave one session out; no tested speaker is trained on",
    "session5_script": (
        "leave one session and one script out (or its improvised dialogs); no tested "
        "speaker and no tested script is trained on; folds are small and differ in "
        "size, so read the pooled scores"
    ),
    "speaker10": "leave one speaker out; the session's other speaker validates",
    "random_811": "random 80/10/10 % by utterance; **the parts share speakers**",
    "random_80_20": "random 80/20 % by utterance; **the parts share speakers**",
    "group": "leave one group out; no tested group is trained on",
}
VALIDATIONS = {
    "speaker": "one whole speaker of the next fold or session, who does not train",
    "group": "all of the next fold or session, which does not train",
    "random": "random utterances that do not train; speakers shared with training",
}
SELECTIONS = {
    "val": "per run, the epoch with the best validation UA",
    "last": "the last epoch; nothing is chosen",
    "test": "per run, the epoch with the best **test** UA (paper mode)",
}
SUBSETS = {
    "improvised": "improvised dialogs only",
    "scripted": "scripted dialogs only",
    "all": "all utterances",
}


def stamps(results: Mapping) -> list[str]:
    """What every artefact of these results must say about itself; may be empty."""
    said = []
    if results["corpus_is_synthetic"]:
        said.append("synthetic corpus")
    if results["paper_mode"]:
        said.append("paper mode: epoch chosen on test data")
    if text_overlap.repeats(results):
        said.append("test sentences also in training")
    return said


def percent(value) -> str:
    """A fraction as percent with two decimals.

    Text passes unchanged, None and NaN are a dash, and a number above 1, which cannot
    be a fraction, counts as percent already.
    """
    if value is None or isinstance(value, str):
        return value or "–"
    if np.isnan(value):
        return "–"
    return f"{100 * value if abs(value) <= 1 else value:.2f}"
