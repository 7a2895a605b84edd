"""cross_corpus/<name>.json and .csv: how a trained workdir did on another corpus."""

from collections.abc import Iterable, Mapping, Sequence

from etils import epath

from ser_jax.errors import InputError
from ser_jax.workdir import files
from ser_jax.workdir.predictions import POSTERIOR

# Of the JSON file, beside what `scoring.transfer.score` returns.
CONTENT = (
    "name",  # of both files
    "corpus",  # its title
    "place",  # folder or manifest
    "warning",  # what a score on this corpus means
    "model",
    "trained_on",
    "runs",  # (fold, seed) of those whose mean answered
    "stamps",  # of the training
    "target_use",  # what the training knew of this corpus: none
    "classes",  # in common; `a+b` joins two of the model's
    "labels",  # the corpus's label -> class in common
    "dropped_labels",  # label of no such class -> number of recordings
    "dropped_classes",  # of the model
    "speakers",  # number, of the scored recordings
    "balanced_training",  # prior_source then changes no decision
    "utterances",  # as in results.json; not those of dropped labels
    "warnings",  # kind -> number of answers that had it
    "notes",  # what a person should know, in sentences
    "versions",
    "git_commit",
)
COLUMNS = ("utterance", "speaker", "label", "class", "prediction")


def write(
    workdir, content: Mapping, rows: Iterable[Sequence], classes: Sequence[str]
) -> epath.Path:
    """Writes both files, in place of those of the same name; returns the JSON's path.

    Args:
      workdir: Trained folder.
      content: `CONTENT` and scores.
      rows: `COLUMNS` and posteriors of every scored recording.
      classes: K names of the posteriors, all of the model's.

    Raises:
      InputError: The folder cannot be written to.
    """
    folder = epath.Path(workdir) / files.CROSS_CORPUS
    files.make_folder(folder, "--workdir")
    path = folder / f"{content['name']}.json"
    header = [*COLUMNS, *(POSTERIOR + name for name in classes)]
    files.write_csv(path.with_suffix(".csv"), header, rows)
    files.write_json(path, content)  # last: the report reads this one
    return path


def read(workdir) -> list[dict]:
    """The content of every JSON file, by name; none in workdirs without the folder.

    Raises:
      InputError: A file is damaged or lacks a key.
    """
    folder = epath.Path(workdir) / files.CROSS_CORPUS
    if not folder.exists():
        return []
    paths = (x for x in folder.iterdir() if x.suffix == ".json" and x.name[0] != ".")
    found = []
    for path in sorted(paths, key=lambda x: x.stem):
        found.append(files.read_json(path))
        if absent := {*CONTENT, "ua", "logit_adjusted"} - found[-1].keys():
            raise InputError(
                f"expected {', '.join(sorted(absent))} in {path}, got none; delete it, "
                "or repeat the `run.py evaluate` that wrote it"
            )
    return found
