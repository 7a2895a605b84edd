"""Everything a report needs of a trained workdir, read from its files."""

import dataclasses
from collections.abc import Mapping, Sequence

from ser_jax.workdir import files, metrics_log, predictions, recordings
from ser_jax.workdir import results as result_files
from ser_jax.workdir.predictions import Prediction
from ser_jax.workdir.recordings import Recording


@dataclasses.dataclass(frozen=True)
class WorkdirContents:
    """A workdir's content.

    Attributes:
      results: Of results.json.
      classes: Of predictions.csv, in the order of its posteriors.
      predictions: Of predictions.csv, in the order of the file.
      metrics: Lines of metrics.jsonl; () if it is not there.
      recordings: Of recordings.csv, by utterance; {} if it is not there.
      published: What the config says a paper reports; {} if it says nothing.
      config: The training's config; {} if config.json is not there.
      command: The command that made the workdir, or empty.
      name: Of the folder.
    """

    results: Mapping
    classes: Sequence[str] = ()
    predictions: Sequence[Prediction] = ()
    metrics: Sequence[Mapping] = ()
    recordings: Mapping[str, Recording] = dataclasses.field(default_factory=dict)
    published: Mapping = dataclasses.field(default_factory=dict)
    config: Mapping = dataclasses.field(default_factory=dict)
    command: str = ""
    name: str = ""

    @property
    def durations_s(self) -> dict[str, float]:
        """Length of every recording whose length is known, by utterance."""
        return {name: item.duration_s for name, item in self.recordings.items()}


def read(workdir) -> WorkdirContents:
    """Reads results.json and predictions.csv, and whatever else is there.

    Raises:
      InputError: A required file is missing or damaged.
    """
    workdir = files.resolve(workdir)
    results = result_files.read(workdir / files.RESULTS)
    origin = {}
    if (workdir / files.CONFIG).exists():
        origin = files.read_json(workdir / files.CONFIG)
    lines, classes = predictions.read(workdir / files.PREDICTIONS)
    return WorkdirContents(
        results=results,
        classes=classes,
        predictions=lines,
        metrics=metrics_log.read(workdir / files.METRICS),
        recordings=recordings.read(workdir / files.RECORDINGS),
        published=origin.get("published") or {},
        config=origin.get("config") or {},
        command=origin.get("command") or "",
        name=workdir.name,
    )
