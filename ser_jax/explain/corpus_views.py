"""The test part of every run of a workdir, window by window."""

import dataclasses
from collections.abc import Iterator

import numpy as np
from etils import epath

from ser_jax.data import batches
from ser_jax.errors import InputError
from ser_jax.explain.viewer import Windows
from ser_jax.predict.trained_model import TrainedModel
from ser_jax.training import experiment
from ser_jax.workdir.results import read_json


@dataclasses.dataclass(frozen=True)
class PartBatch:
    """Windows of one run's test part.

    Attributes:
      windows: Filled up to one size, so that nothing is compiled again.
      count: How many of them are no fillings.
      utterance: int [B], whose they are.
      start: int [B], their first frames in the utterance.
    """

    windows: Windows
    count: int
    utterance: np.ndarray
    start: np.ndarray


class Parts:
    """The corpus a workdir was trained on, dealt as it was then.

    Attributes:
      labels: int [U], class of each utterance.
      num_frames: int [U].
    """

    def __init__(self, trained: TrainedModel, data: str = ""):
        """Reads (or builds) the data set of the workdir's config.

        Args:
          trained: The runs.
          data: Manifest or folder of the corpus, if it has moved.

        Raises:
          InputError: The corpus is not there or has changed since.
        """
        self._trained = trained
        try:
            self._found = experiment.prepare(_at(trained.config, data))
        except AttributeError as error:  # ml_collections' word for a missing key
            raise InputError(
                f"{trained.provenance['workdir']}: expected a config of this version of "
                f"ser_jax; {error}. Use the version that trained it, or train again."
            ) from error
        self.labels = self._found.labels
        tables = self._found.buffer.base
        copies = len(self._found.buffer.offset)
        self.num_frames = np.diff(tables) // copies
        self._runs = {(run.fold.name, run.fold.seed): run for run in self._found.runs}
        for known in trained.folds:
            self._check(known)

    def _check(self, known: dict) -> None:
        run = self._runs.get((known["name"], known["seed"]))
        ids = () if run is None else run.fold.test
        now = {self._found.utterances[u].id for u in ids}
        same = (
            now == set(known["test"]) and self._found.classes == self._trained.classes
        )
        if not same or not self._same_labels():
            raise InputError(
                f"{self._trained.provenance['workdir']}: expected the corpus it was trained "
                f"on, with {len(known['test'])} test utterances in fold "
                f"{known['name']}; got {len(now)}, others, or other labels. "
                "--data=... says where the corpus is now: its manifest or folder."
            )

    def _same_labels(self) -> bool:
        """Whether every utterance has the class it was trained with."""
        path = epath.Path(self._trained.provenance["workdir"]) / "splits.json"
        if not path.exists():
            return True
        found = self._found
        labels = zip(found.utterances, found.labels, strict=True)
        now = {u.id: found.classes[k] for u, k in labels}
        return read_json(path)["labels"] == now

    def batches(self, r: int, size: int = 32) -> Iterator[PartBatch]:
        """The test windows of run number r, in batches of `size`."""
        found = self._found
        run = self._runs[self._trained.runs[r]]
        parts, places = batches.evaluation_order(
            run.test, found.buffer, found.labels, batch_size=size, sizes=found.sizes
        )
        for part, place, frames in zip(parts, places, found.sizes, strict=True):
            for step, start in enumerate(part.start):
                chosen = np.resize(place[step * size : (step + 1) * size], size)
                index = type(part)(*(x[step] for x in part))
                yield PartBatch(
                    windows=Windows(
                        found.buffer.windows(start, frames),
                        index.num_frames,
                        self._others(index.utterance),
                    ),
                    count=int(index.weight.sum()),
                    utterance=index.utterance,
                    start=run.test.start_frame[chosen],
                )

    def _others(self, utterance: np.ndarray) -> dict[str, np.ndarray]:
        tables, others = self._found.tables, {}
        if tables.tokens is not None:
            tokens = np.asarray(tables.tokens)[utterance]
            others["words"] = np.asarray(tables.word_vectors)[tokens]
            others["word_mask"] = tokens > 0
        if tables.speaker_embeddings is not None:
            others["speaker_embedding"] = tables.speaker_embeddings[utterance]
        return others


def _at(config, data: str):
    """The config with its corpus elsewhere."""
    if not data:
        return config
    config = config.copy_and_resolve_references()
    with config.unlocked():
        config.data["manifest" if config.data.corpus == "manifest" else "root"] = data
    return config
