"""Everything a report knows of a finished workdir, read from its files."""

import dataclasses
from collections.abc import Mapping, Sequence

from etils import epath

from ser_jax.errors import InputError
from ser_jax.workdir import recordings as recording_files
from ser_jax.workdir import results as result_files
from ser_jax.workdir.recordings import Recording
from ser_jax.workdir.results import Prediction


@dataclasses.dataclass(frozen=True)
class WorkdirContents:
    """A workdir's content.

    Attributes:
      results: Of results.json.
      predictions: Of predictions.csv, in the order of the file.
      metrics: Entries of metrics.jsonl; () if it is not there.
      recordings: Of recordings.csv, by utterance; {} if it is not there.
      published: What the config says a paper reports; {} if it says nothing.
      config: The training's config; {} if config.json is not there.
      command: The command that made the workdir, or empty.
      name: Of the folder.
    """

    results: Mapping
    predictions: Sequence[Prediction] = ()
    metrics: Sequence[Mapping] = ()
    recordings: Mapping[str, Recording] = dataclasses.field(default_factory=dict)
    published: Mapping = dataclasses.field(default_factory=dict)
    config: Mapping = dataclasses.field(default_factory=dict)
    command: str = ""
    name: str = ""

    @property
    def seconds(self) -> dict[str, float]:
        """Length of every recording whose length is known, by utterance."""
        return {name: item.duration_s for name, item in self.recordings.items()}

    @property
    def has_paper(self) -> bool:
        """Whether there is a published number to stand beside."""
        return bool(self.published.get("paper"))


def folder(path) -> epath.Path:
    """A workdir's whole path: local ones absolute, `gs://` as they are."""
    found = epath.Path(path).expanduser()
    return found if "://" in str(found) else found.resolve()


def read(workdir) -> WorkdirContents:
    """Reads results.json and predictions.csv, and whatever else is there.

    Args:
      workdir: Local or `gs://` folder.

    Raises:
      InputError: A required file is missing or damaged, or predictions.csv does not
        score as results.json says.
    """
    workdir = folder(workdir)
    results = result_files.read_json(workdir / "results.json")
    origin = {}
    if (workdir / "config.json").exists():
        origin = result_files.read_json(workdir / "config.json")
    return WorkdirContents(
        results=results,
        predictions=_checked_predictions(workdir, results),
        metrics=result_files.read_metrics(workdir / "metrics.jsonl"),
        recordings=recording_files.read(workdir / recording_files.NAME),
        published=origin.get("published") or {},
        config=origin.get("config") or {},
        command=origin.get("command") or "",
        name=workdir.name,
    )


def _checked_predictions(workdir, results) -> list[Prediction]:
    """The report's numbers must be those of the predictions it lies beside."""
    path = workdir / "predictions.csv"
    predictions, classes = result_files.read_predictions(path)
    try:
        again = result_files.rescore(results, predictions, classes)
        same = again["pooled"]["confusion"] == results["pooled"]["confusion"]
        same = same and list(classes) == results["classes"]
    except (KeyError, ValueError) as error:
        raise InputError(
            f"expected predictions.csv and results.json of one training in {workdir}, "
            f"got files that do not match ({error}); repeat `run.py evaluate`"
        ) from error
    if not same:
        raise InputError(
            f"expected {path} to score as results.json says, got another confusion "
            "matrix; repeat `run.py evaluate`"
        )
    return predictions
