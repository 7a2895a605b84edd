"""One pass over the test parts: the deletion test and the mean maps of the classes."""

import collections

import numpy as np
from tqdm import tqdm

from ser_jax.explain.corpus_segments import CorpusSegments
from ser_jax.explain.deletion import (
    CASES,
    Case,
    RunScores,
    hidden_cells,
    utterance_ua,
)
from ser_jax.explain.explainer import Explainer
from ser_jax.explain.grid import MeanMaps, SegmentGrid, add_segments

BINS = 60  # of the relative time axis


class ClassMaps:
    """Means over the test utterances of each true class, on a relative time axis.

    An utterance counts once for every run that tests it, however long it is.
    """

    def __init__(self, num_classes: int):
        self._maps = [MeanMaps(BINS) for _ in range(num_classes)]
        self.utterances = [0] * num_classes  # number of each class
        self.bands: tuple[int, ...] = ()  # edges of the attention's rows

    def add(self, label: int, maps: MeanMaps) -> None:
        self.utterances[label] += 1
        for name, values in maps.means().items():
            # Short utterances have fewer frames than there are bins.
            filled = np.flatnonzero(~np.isnan(values).any(axis=0))
            self._maps[label].add(name, values[:, filled], filled)

    def means(self, label: int) -> dict[str, np.ndarray]:
        """`features` and `saliency` [F, BINS], `attention` [H, BINS]; {} if empty."""
        return self._maps[label].means()


def explain(
    explainer: Explainer, segments: CorpusSegments
) -> tuple[list[RunScores], ClassMaps]:
    """Explains the test part of every run; the model must attend."""
    class_maps = ClassMaps(len(explainer.trained.classes))
    runs = range(len(explainer.trained.runs))
    scores = [_explain_run(explainer, segments, r, class_maps) for r in runs]
    return scores, class_maps


def _explain_run(
    explainer: Explainer, segments: CorpusSegments, r: int, class_maps: ClassMaps
) -> RunScores:
    """Scores run number r under every case, and adds its utterances to the classes."""
    fold, seed = explainer.trained.runs[r]
    rng = np.random.default_rng([seed, r])
    # None is the case with nothing hidden.
    posteriors: dict[Case | None, list[np.ndarray]] = collections.defaultdict(list)
    utterance, num_cells = [], []
    maps = collections.defaultdict(lambda: MeanMaps(BINS))
    batches = list(segments.batches(r))
    for batch in tqdm(batches, f"explaining {fold}", unit="batch", delay=2):
        count = batch.count
        explanation = explainer.explain(r, batch)
        grid = SegmentGrid(explanation.maps, batch)
        num_cells += grid.num_cells[:count].tolist()
        utterance.append(batch.utterance[:count])
        posteriors[None].append(explanation.posteriors[:count])
        mass, slopes = grid.total.mass, explanation.saliency[grid.total.over]
        slopes = grid.mean_per_cell(slopes)
        for case, cells in hidden_cells(mass, slopes, grid.valid, batch.utterance, rng):
            hidden = grid.input_mask(cells)
            posteriors[case].append(explainer.posteriors(r, batch, hidden)[:count])
        attention = {} if grid.over_words else {"attention": grid.relative(grid.total)}
        add_segments(maps, segments.num_frames, batch, explanation, attention)
        class_maps.bands = grid.total.bands
    for u, utterance_maps in maps.items():
        class_maps.add(int(segments.labels[u]), utterance_maps)
    utterance, rule = np.concatenate(utterance), explainer.trained.config.segment.vote
    ua = {
        case: utterance_ua(np.concatenate(x), utterance, segments.labels, rule)
        for case, x in posteriors.items()
    }
    plain, hidden = ua.pop(None), collections.defaultdict(list)
    for case in CASES:
        hidden[case.condition, case.share].append(ua[case])
    return RunScores(fold, seed, len(maps), int(np.median(num_cells)), plain, hidden)
