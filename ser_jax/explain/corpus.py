"""One pass over the test parts: the deletion test and the mean maps of the classes."""

import collections
from collections.abc import Iterator

import numpy as np
from tqdm import tqdm

from ser_jax.data.batches import evaluation_order
from ser_jax.data.normalize import BY_OWNER
from ser_jax.errors import InputError
from ser_jax.explain.deletion import Case, RunScores, hidden_cells, utterance_ua
from ser_jax.explain.explainer import Explainer, SegmentBatch
from ser_jax.explain.grid import MeanMaps, SegmentGrid, add_segments
from ser_jax.predict.trained_model import TrainedModel
from ser_jax.training import evaluation, experiment
from ser_jax.training.config_check import check_config
from ser_jax.workdir.config import with_corpus_at
from ser_jax.workdir.workdir import Workdir

BINS = 60  # of the relative time axis


class CorpusSegments:
    """The corpus that a workdir was trained on, split and segmented as it was then."""

    def __init__(self, trained: TrainedModel, data: str = ""):
        """Reads (or builds) the dataset of the workdir's config.

        `data` is the manifest or folder of the corpus, if it has moved.

        Raises:
          InputError: The corpus is not there or has changed since.
        """
        self._trained = trained
        if trained.config.data.normalize in BY_OWNER:
            # The Explainer scales all that it reads as a new recording.
            raise InputError(
                "explain --corpus: expected data.normalize=none or fold; got a training "
                f"with {trained.config.data.normalize}. Explain single recordings."
            )
        config = with_corpus_at(trained.config, data)
        check_config(config, trained.provenance["workdir"])
        self._experiment = experiment.prepare(config)
        workdir = Workdir(trained.provenance["workdir"], create=False)
        splits = evaluation.splits(self._experiment)
        workdir.check_splits(splits)
        if any(fold not in splits["folds"] for fold in trained.folds):
            raise InputError(
                f"{workdir.path}: expected its checkpoint's folds in splits.json; got "
                "others. Train again in a new --workdir."
            )
        self.labels = self._experiment.labels  # int [U]
        self.num_frames = self._experiment.corpus.num_frames  # int [U]
        runs = self._experiment.runs
        self._runs = {(run.fold.name, run.fold.seed): run for run in runs}

    def batches(self, r: int, size: int = 32) -> Iterator[SegmentBatch]:
        """The test segments of run number r, in batches of `size`."""
        prepared, run = self._experiment, self._runs[self._trained.runs[r]]
        buckets = evaluation_order(
            run.test,
            prepared.frame_table,
            prepared.labels,
            batch_size=size,
            sizes=prepared.sizes,
        )
        first_frame = prepared.frame_table.offset[0]
        for bucket, frames in zip(buckets, prepared.sizes, strict=True):
            for step, start in enumerate(bucket.start):
                utterance = bucket.utterance[step]
                yield SegmentBatch(
                    frames=prepared.frame_table.segments(start, frames),
                    num_frames=bucket.num_frames[step],
                    start_frame=start - first_frame[utterance],
                    utterance=utterance,
                    count=int(bucket.weight[step].sum()),
                    side_inputs=prepared.tables.side_inputs(utterance),
                )


class ClassMaps:
    """Means over the test utterances of each true class, on a relative time axis.

    An utterance counts once for every run that tests it, however long it is.
    """

    def __init__(self, num_classes: int):
        # `features` and `saliency` [F, BINS], `attention` [H, BINS]
        self.maps = [MeanMaps(BINS) for _ in range(num_classes)]
        self.utterances = [0] * num_classes  # number of each class
        self.bands: tuple[int, ...] = ()  # edges of the attention's rows

    def add(self, label: int, maps: MeanMaps) -> None:
        self.utterances[label] += 1
        for name, values in maps.means().items():
            self.maps[label].add(name, values, np.arange(BINS))


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
        slopes = grid.mean_per_cell(explanation.saliency[grid.total.over])
        mass = grid.total.mass
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
    for case, value in ua.items():
        hidden[case.condition, case.share].append(value)
    return RunScores(fold, seed, len(maps), int(np.median(num_cells)), plain, hidden)
