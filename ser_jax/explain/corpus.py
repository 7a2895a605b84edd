"""One pass over the test parts: the deletion test, and what classes look like."""

import dataclasses

import numpy as np
from tqdm import tqdm

from ser_jax.explain import canvas, deletion
from ser_jax.explain.canvas import Canvas
from ser_jax.explain.corpus_views import PartBatch, Parts
from ser_jax.explain.viewer import View, Viewer

BINS = 60  # of the relative time axis


@dataclasses.dataclass(frozen=True)
class RunScores:
    """The deletion test of one run on its own test part.

    Attributes:
      fold: Its fold.
      seed: Its seed.
      utterances: Of the test part.
      cells: Median number of cells of a window's attention grid.
      plain: UA with nothing hidden.
      hidden: UA of every case.
    """

    fold: str
    seed: int
    utterances: int
    cells: int
    plain: float
    hidden: dict[deletion.Case, float]


class ClassPictures:
    """Means over the test utterances of each true class, on a relative time axis.

    An utterance counts once for every run that tests it, however long it is.

    Attributes:
      utterances: How many utterances of each class are in them.
      bands: Edges of the attention's rows.
    """

    def __init__(self, num_classes: int):
        """Nothing is drawn yet."""
        self._classes: list[dict[str, Canvas]] = [{} for _ in range(num_classes)]
        self.utterances = [0] * num_classes
        self.bands: tuple[int, ...] = ()

    def add(self, label: int, pictures: dict[str, Canvas]) -> None:
        """Adds one utterance."""
        self.utterances[label] += 1
        for name, picture in pictures.items():
            values = picture.mean()
            seen = ~np.isnan(values).any(axis=0)
            own = self._classes[label].setdefault(name, Canvas(len(values), BINS))
            own.add(values[:, seen], np.flatnonzero(seen))

    def mean(self, label: int) -> dict[str, np.ndarray]:
        """`features` and `saliency` [F, BINS], `attention` [H, BINS]; {} if unseen."""
        return {name: own.mean() for name, own in self._classes[label].items()}


def examine(viewer: Viewer, parts: Parts) -> tuple[list[RunScores], ClassPictures]:
    """Looks at the test part of every run of the viewer; never at training.

    Args:
      viewer: The runs; the model must attend.
      parts: Their test parts.
    """
    trained = viewer.trained
    pictures = ClassPictures(len(trained.classes))
    scores = []
    for r, (fold, seed) in enumerate(trained.runs):
        rng = np.random.default_rng([seed, r])
        found, cells = deletion.Scores(), []
        utterances: dict[int, dict[str, Canvas]] = {}
        batches = list(parts.batches(r))
        for batch in tqdm(batches, f"explaining {fold}", unit="batch", delay=2):
            view = viewer.look(r, batch.windows)
            cells += _score(viewer, r, batch, view, found, rng)
            _draw(batch, view, parts.num_frames, utterances, pictures)
        for u, own in utterances.items():
            pictures.add(int(parts.labels[u]), own)
        rule = trained.config.segment.vote
        plain, hidden = found.accuracies(parts.labels, rule)
        tested = int(np.median(cells))
        scores.append(RunScores(fold, seed, len(utterances), tested, plain, hidden))
    return scores, pictures


def _score(viewer: Viewer, r: int, batch: PartBatch, view: View, found, rng):
    """Adds a batch to the scores; gives the numbers of its windows' cells."""
    whole, count = canvas.total(view.maps), batch.count
    mass = np.asarray(whole.mass, np.float64)
    if whole.over == "words":
        owner, valid = None, np.asarray(batch.windows.others["word_mask"])
    else:
        owner = canvas.columns_of(view.maps, batch.windows.num_frames)
        valid = np.arange(mass.shape[2]) <= owner.max(axis=1, initial=-1)[:, None]
    slopes = canvas.cells_under(whole, view.saliency[whole.over], owner)
    cases = deletion.hidden_cells(mass, slopes, valid, batch.utterance, rng)

    def answer(cells: np.ndarray) -> np.ndarray:
        length = batch.windows.frames.shape[1]
        hidden = canvas.inputs_under(whole, cells, owner, length)
        return viewer.answer(r, batch.windows, hidden)[:count]

    found.add(batch.utterance[:count], view.probabilities[:count], cases, answer)
    return (valid.sum(axis=1) * mass.shape[1])[:count].tolist()


def _draw(batch: PartBatch, view: View, lengths, utterances, pictures) -> None:
    """Lays a batch on the relative time axes of its utterances."""
    whole = canvas.total(view.maps)
    rows = {
        "features": np.moveaxis(view.features, 1, 2),
        "saliency": np.moveaxis(view.saliency["frames"], 1, 2),
    }
    num_frames = batch.windows.num_frames
    everywhere = np.arange(view.features.shape[1]) < num_frames[:, None]
    where = {"features": everywhere, "saliency": everywhere}
    if whole.over == "frames":
        owner = canvas.columns_of(view.maps, num_frames)
        where["attention"] = owner >= 0
        rows["attention"] = canvas.against_even(whole, owner)
        pictures.bands = whole.bands
    for i in range(batch.count):
        u = int(batch.utterance[i])
        own = utterances.setdefault(u, {})
        for name, values in rows.items():
            into = own.setdefault(name, Canvas(values.shape[1], BINS))
            frames = np.flatnonzero(where[name][i])
            place = (batch.start[i] + frames + 0.5) / lengths[u]
            bins = np.minimum((place * BINS).astype(int), BINS - 1)
            into.add(values[i][:, frames], bins)
