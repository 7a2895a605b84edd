"""Everything a report needs of a trained workdir, read from its files."""

import dataclasses
from collections.abc import Mapping, Sequence

from ser_jax import bucket
from ser_jax.workdir import baseline, cross_corpus, files, metrics_log, predictions
from ser_jax.workdir.predictions import Prediction, Recording


@dataclasses.dataclass(frozen=True)
class WorkdirContents:
    """A workdir's content; what an older workdir does not have is empty."""

    results: Mapping  # results.json
    classes: Sequence[str] = ()  # in the order of the posteriors
    predictions: Sequence[Prediction] = ()  # in the order of predictions.csv
    metrics: Sequence[Mapping] = ()  # lines of metrics.jsonl
    # By utterance.
    recordings: Mapping[str, Recording] = dataclasses.field(default_factory=dict)
    cross_corpus: Sequence[Mapping] = ()  # scores there, see `cross_corpus.CONTENT`
    # What the config says a paper reports.
    published: Mapping = dataclasses.field(default_factory=dict)
    config: Mapping = dataclasses.field(default_factory=dict)
    command: str = ""  # that made the workdir
    name: str = ""  # of the folder
    baseline: "WorkdirContents | None" = None  # a linear SVM's, of the same folds

    @property
    def durations_s(self) -> dict[str, float]:
        """Length of every recording whose length is known, by utterance."""
        return {name: item.duration_s for name, item in self.recordings.items()}


def read(workdir, *, beside: bool = True) -> WorkdirContents:
    """Reads results.json and predictions.csv, which must be there, and what else is.

    Without `beside` it leaves the baseline out, which will be written again. Raises
    InputError if a file is missing or damaged.
    """
    workdir = files.resolve(workdir)
    bucket.connect(str(workdir))
    results = files.read_json(workdir / files.RESULTS)
    origin = {}
    if (workdir / files.CONFIG).exists():
        origin = files.read_json(workdir / files.CONFIG)
    has_baseline = beside and baseline.exists(workdir)
    lines, classes = predictions.read(workdir / files.PREDICTIONS)
    return WorkdirContents(
        results=results,
        classes=classes,
        predictions=lines,
        metrics=metrics_log.read(workdir / files.METRICS),
        recordings=predictions.read_recordings(workdir / files.RECORDINGS),
        cross_corpus=cross_corpus.read(workdir),
        published=origin.get("published") or {},
        config=origin.get("config") or {},
        command=origin.get("command") or "",
        name=workdir.name,
        baseline=read(workdir / files.BASELINE) if has_baseline else None,
    )
