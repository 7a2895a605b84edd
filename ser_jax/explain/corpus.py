"""One pass over the test parts: the deletion test and the mean maps of the classes."""

import collections
from collections.abc import Iterator

import numpy as np
from tqdm import tqdm

from ser_jax.explain import grid
from ser_jax.explain.corpus_segments import CorpusSegments
from ser_jax.explain.deletion import (
    CASES,
    Case,
    RunScores,
    hidden_cells,
    utterance_ua,
)
from ser_jax.explain.explainer import Explainer, Explanation, SegmentBatch
from ser_jax.explain.grid import ColumnMean, SegmentGrid, UtteranceMaps

BINS = 60  # of the relative time axis


class ClassMaps:
    """Means over the test utterances of each true class, on a relative time axis.

    An utterance counts once for every run that tests it, however long it is.

    Attributes:
      utterances: Number of utterances of each class.
      bands: Edges of the attention's rows.
    """

    def __init__(self, num_classes: int):
        """Starts without an utterance."""
        self._means: list[dict[str, ColumnMean]] = [{} for _ in range(num_classes)]
        self.utterances = [0] * num_classes
        self.bands: tuple[int, ...] = ()

    def add(self, label: int, maps: UtteranceMaps) -> None:
        """Adds one utterance."""
        self.utterances[label] += 1
        for name, values in maps.means().items():
            # Short utterances have fewer frames than there are bins.
            filled = ~np.isnan(values).any(axis=0)
            own = self._means[label].setdefault(name, ColumnMean(len(values), BINS))
            own.add(values[:, filled], np.flatnonzero(filled))

    def mean(self, label: int) -> dict[str, np.ndarray]:
        """`features` and `saliency` [F, BINS], `attention` [H, BINS]; {} if empty."""
        return {name: own.mean() for name, own in self._means[label].items()}


def explain(
    explainer: Explainer, segments: CorpusSegments
) -> tuple[list[RunScores], ClassMaps]:
    """Explains the test part of every run; never a training part.

    Args:
      explainer: The runs; the model must attend.
      segments: Their test parts.
    """
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
    posteriors: dict[Case | None, list[np.ndarray]] = collections.defaultdict(list)
    utterance, num_cells = [], []
    maps: dict[int, UtteranceMaps] = {}
    batches = list(segments.batches(r))
    for batch in tqdm(batches, f"explaining {fold}", unit="batch", delay=2):
        count = batch.count
        explanation = explainer.explain(r, batch)
        cells = SegmentGrid(explanation.maps, batch)
        num_cells += cells.num_cells[:count].tolist()
        utterance.append(batch.utterance[:count])
        posteriors[None].append(explanation.posteriors[:count])
        for case, hidden in _hidden_inputs(explanation, cells, batch, rng):
            posteriors[case].append(explainer.posteriors(r, batch, hidden)[:count])
        for u in set(batch.utterance.tolist()) - maps.keys():
            maps[u] = UtteranceMaps(int(segments.num_frames[u]), BINS)
        total = {"attention": cells.total}
        grid.add_segments(maps, batch, explanation, cells, total)
        class_maps.bands = cells.total.bands
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


def _hidden_inputs(
    explanation: Explanation,
    cells: SegmentGrid,
    batch: SegmentBatch,
    rng: np.random.Generator,
) -> Iterator[tuple[Case, dict[str, np.ndarray]]]:
    """The inputs that every case of the deletion test hides."""
    slopes = cells.mean_per_cell(explanation.saliency[cells.total.over])
    mass = np.asarray(cells.total.mass, np.float64)
    for case, chosen in hidden_cells(mass, slopes, cells.valid, batch.utterance, rng):
        yield case, cells.input_mask(chosen)
