"""The test part of every run of a workdir, segment by segment."""

from collections.abc import Iterator

from etils import epath

from ser_jax.data import batches
from ser_jax.errors import InputError
from ser_jax.explain.explainer import SegmentBatch
from ser_jax.predict.trained_model import TrainedModel
from ser_jax.training import experiment
from ser_jax.training.config_check import check_stored
from ser_jax.workdir.files import read_json


class CorpusSegments:
    """The corpus that a workdir was trained on, split and segmented as it was then."""

    def __init__(self, trained: TrainedModel, data: str = ""):
        """Reads (or builds) the dataset of the workdir's config.

        Args:
          trained: The runs to be explained.
          data: Manifest or folder of the corpus, if it has moved.

        Raises:
          InputError: The corpus is not there or has changed since.
        """
        self._trained = trained
        config = _relocate(trained.config, data)
        check_stored(config, trained.provenance["workdir"])
        self._experiment = experiment.prepare(config)
        self.labels = self._experiment.labels  # int [U]
        self.num_frames = self._experiment.corpus.num_frames  # int [U]
        runs = self._experiment.runs
        self._runs = {(run.fold.name, run.fold.seed): run for run in runs}
        self._check()

    def batches(self, r: int, size: int = 32) -> Iterator[SegmentBatch]:
        """The test segments of run number r, in batches of `size`."""
        prepared, run = self._experiment, self._runs[self._trained.runs[r]]
        buckets = batches.evaluation_order(
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

    def _check(self) -> None:
        """Raises InputError unless the corpus gives the stored test parts and labels."""
        prepared, provenance = self._experiment, self._trained.provenance
        pairs = zip(prepared.utterances, prepared.labels, strict=True)
        labels = {utterance.id: prepared.classes[k] for utterance, k in pairs}
        path = epath.Path(provenance["workdir"]) / "splits.json"
        stored = read_json(path)["labels"] if path.exists() else labels
        same = stored == labels and prepared.classes == self._trained.classes
        for fold in self._trained.folds:
            run = self._runs.get((fold["name"], fold["seed"]))
            positions = () if run is None else run.fold.test
            ids = {prepared.utterances[u].id for u in positions}
            if not same or ids != set(fold["test"]):
                raise InputError(
                    f"{provenance['workdir']}: expected the corpus it was trained "
                    f"on, with {len(fold['test'])} test utterances in fold "
                    f"{fold['name']}; got {len(ids)}, others, or other labels. "
                    "--data=... says where the corpus is now: its manifest or folder."
                )


def _relocate(config, data: str):
    """The config with its corpus at `data`, if that is given."""
    if not data:
        return config
    config = config.copy_and_resolve_references()
    with config.unlocked():
        config.data["manifest" if config.data.corpus == "manifest" else "root"] = data
    return config
