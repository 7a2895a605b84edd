"""How well vectors of utterances tell the corpora apart that these come from."""

from collections.abc import Sequence

import numpy as np

PARTS = 5


def accuracy(
    vectors: np.ndarray, corpora: Sequence[str], speakers: Sequence[str]
) -> float:
    """Balanced accuracy of a linear classifier that names the corpus.

    Logistic regression on z-scores, cross-validated over `PARTS` parts that share no
    speaker, or no utterance if some corpus has fewer than two speakers. Near 1 / corpora
    the vectors say nothing of the corpus; near 1 they may tell emotions by it.

    Args:
      vectors: [N, D], finite.
      corpora: N names, of two or more corpora.
      speakers: N names; different ones in different corpora.

    Raises:
      ValueError: There is one corpus only, or a corpus with one utterance.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.metrics import balanced_accuracy_score
    from sklearn.model_selection import StratifiedGroupKFold, cross_val_predict
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    corpora, speakers = np.asarray(corpora), np.asarray(speakers)
    names, sizes = np.unique(corpora, return_counts=True)
    if len(names) < 2 or sizes.min() < 2:
        raise ValueError(
            "expected two corpora or more, of two utterances or more; got "
            f"{dict(zip(names.tolist(), sizes.tolist(), strict=True))}"
        )
    groups, fewest = speakers, _fewest_speakers(corpora, speakers)
    if fewest < 2:
        groups, fewest = np.arange(len(corpora)), int(sizes.min())
    folds = StratifiedGroupKFold(min(PARTS, fewest), shuffle=True, random_state=0)
    classifier = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))
    guessed = cross_val_predict(classifier, vectors, corpora, groups=groups, cv=folds)
    return float(balanced_accuracy_score(corpora, guessed))


def unknown(corpora: Sequence[str], speakers: Sequence[str]) -> str:
    """What `accuracy` keeps for its tests: `speakers` or `utterances`."""
    fewest = _fewest_speakers(np.asarray(corpora), np.asarray(speakers))
    return "utterances" if fewest < 2 else "speakers"


def _fewest_speakers(corpora: np.ndarray, speakers: np.ndarray) -> int:
    return min(len({*speakers[corpora == name]}) for name in np.unique(corpora))
