"""The result files of a workdir: predictions.csv, results.json, metrics.jsonl.

Files go through `etils.epath`, so a workdir may be local or `gs://`. Every file is
written beside its place and moved there in one step: a reader sees the old file or the
new one, never half of one.
"""

import collections
import csv
import dataclasses
import io
import json
import math
import os
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
from etils import epath

from ser_jax.errors import InputError
from ser_jax.scoring import metrics

COLUMNS = ("utterance", "fold", "seed", "speaker", "session", "label", "prediction")
POSTERIOR = "p_"  # prefix of a class's posterior column
ABOUT = (
    *("corpus", "corpus_is_synthetic", "protocol", "model", "utterances"),
    *("seconds", "versions", "git_commit"),
)
SCORES = ("wa", "ua", "macro_f1")


@dataclasses.dataclass(frozen=True)
class Prediction:
    """One tested utterance of one run: a line of predictions.csv.

    Attributes:
      utterance: Utterance id.
      fold: Name of the fold that tested it.
      seed: Seed of the run.
      speaker: Who speaks.
      session: Recording session.
      label: True class, by name.
      prediction: Decided class, by name.
      posteriors: K probabilities, in the order of the classes.
    """

    utterance: str
    fold: str
    seed: int
    speaker: str
    session: str
    label: str
    prediction: str
    posteriors: tuple[float, ...]


def write_atomically(path, content: bytes) -> None:
    """Writes `content` to `path` so that no reader ever sees a part of it."""
    path = epath.Path(path)
    beside = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        beside.write_bytes(content)
        beside.replace(path)
    except BaseException:
        beside.unlink(missing_ok=True)
        raise


def write_predictions(
    path, predictions: Iterable[Prediction], classes: Sequence[str]
) -> None:
    """Writes predictions.csv; posteriors keep float32 precision (9 digits).

    Args:
      path: The file.
      predictions: Lines, written in the given order.
      classes: K class names, in the order of the posteriors.

    Raises:
      ValueError: A record has another number of posteriors or an unknown class.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([*COLUMNS, *(POSTERIOR + name for name in classes)])
    for record in predictions:
        if len(record.posteriors) != len(classes):
            raise ValueError(
                f"expected {len(classes)} posteriors for {record.utterance}, got "
                f"{len(record.posteriors)}; give one per class"
            )
        _class_indices([record], classes)
        digits = (f"{float(value):.9g}" for value in record.posteriors)
        writer.writerow([*(getattr(record, name) for name in COLUMNS), *digits])
    write_atomically(path, text.getvalue().encode())


def read_predictions(path) -> tuple[list[Prediction], tuple[str, ...]]:
    """Reads predictions.csv.

    Returns:
      The records in file order, and the class names.

    Raises:
      InputError: The file is missing, lacks a column, or a line cannot be read.
    """
    rows = csv.DictReader(io.StringIO(_read_text(path), newline=""))
    header = rows.fieldnames or []
    missing = [name for name in COLUMNS if name not in header]
    columns = [name for name in header if name.startswith(POSTERIOR)]
    if missing or not columns:
        raise InputError(
            f"expected columns {', '.join(COLUMNS)}, {POSTERIOR}<class> ... in {path}, "
            f"got {', '.join(header) or 'an empty file'}; write it again with "
            "`run.py evaluate`"
        )
    classes = tuple(name.removeprefix(POSTERIOR) for name in columns)
    records = []
    for row in rows:
        try:
            fields = {name: row[name] for name in COLUMNS} | {"seed": int(row["seed"])}
            posteriors = tuple(float(row[name]) for name in columns)
            records.append(Prediction(**fields, posteriors=posteriors))
            _class_indices(records[-1:], classes)
        except (TypeError, ValueError) as error:
            raise InputError(
                f"expected a prediction in line {rows.line_num} of {path}, got {row} "
                f"({error}); write the file again with `run.py evaluate`"
            ) from error
    return records, classes


def summarise(
    predictions: Sequence[Prediction],
    runs: Sequence[Mapping],
    classes: Sequence[str],
    about: Mapping,
) -> dict:
    """Builds the content of results.json.

    `mean` and `std` are over runs (folds x seeds); `std` is the sample standard
    deviation (divisor n - 1), 0.0 for one run. `pooled` scores the sum of all runs'
    confusion matrices: an utterance counts once per run that tested it.

    Args:
      predictions: Every tested utterance of every run, any order.
      runs: Per run, in the order of the table: `fold`, `seed`, `best_epoch` and
        `epochs` (None if unknown); further keys are kept.
      classes: K class names.
      about: The keys of `ABOUT`; `protocol` is config.protocol, `utterances` comes
        from `count_utterances`. `text` is kept where it is (see `evaluation.texts`).

    Returns:
      Plain Python values as in design.md section 3, with `paper_mode` (selection is
      `test`) and, per run, `absent_classes`: no test utterance, left out of its UA.

    Raises:
      ValueError: A key is missing, runs and predictions do not match, an utterance is
        tested twice in one run, or a class is unknown.
    """
    by_run = _group(predictions, runs)
    scored, pooled = [], np.zeros((len(classes), len(classes)), np.int64)
    for meta in runs:
        labels, decided = _class_indices(by_run[meta["fold"], meta["seed"]], classes)
        confusion = metrics.confusion_matrix(labels, decided, len(classes))
        pooled += confusion
        scored.append(_score_run(meta, confusion, classes))
    scores = {
        "classes": classes,
        "runs": scored,
        **{key: _mean_std([run[key] for run in scored]) for key in SCORES},
        "pooled": {**_scores(pooled), "confusion": pooled},
    }
    return _plain(_assemble(about, scores))


def rescore(results: Mapping, predictions, classes) -> dict:
    """Scores `predictions` anew; whatever is no score is taken from `results`."""
    return summarise(predictions, results["runs"], classes, results)


def count_utterances(
    used: int, excluded: Iterable, *, padded_short: int = 0, resampled: int = 0
) -> dict:
    """The `utterances` part of results.json.

    Args:
      used: Utterances that some fold trains, validates or tests on.
      excluded: Records with `id, reason, detail` (`corpora.utterance.Exclusion`).
      padded_short: Used utterances that were shorter than a window and padded.
      resampled: Used recordings that came at another sample rate.

    Returns:
      `used`, `skipped` (count by reason, most frequent first), `excluded` (the list),
      `padded_short`, `resampled`.
    """
    listed = [
        {"id": item.id, "reason": item.reason, "detail": item.detail}
        for item in excluded
    ]
    counts = collections.Counter(item["reason"] for item in listed)
    return {
        "used": int(used),
        "skipped": dict(counts.most_common()),
        "excluded": listed,
        "padded_short": int(padded_short),
        "resampled": int(resampled),
    }


def write_results(path, results: Mapping) -> None:
    """Writes results.json; NumPy values become plain ones, NaN becomes null."""
    text = json.dumps(_plain(results), indent=2, ensure_ascii=False, allow_nan=False)
    write_atomically(path, (text + "\n").encode())


def read_json(path) -> dict:
    """Reads results.json or config.json.

    Raises:
      InputError: The file is missing or no JSON object.
    """
    try:
        content = json.loads(_read_text(path))
    except json.JSONDecodeError as error:
        raise InputError(
            f"expected JSON in {path}, got a file that breaks off or is damaged "
            f"({error}); run the training command again, it resumes"
        ) from error
    if not isinstance(content, dict):
        raise InputError(f"expected a JSON object in {path}, got {type(content)}")
    return content


def read_metrics(path) -> list[dict]:
    """Reads metrics.jsonl; a missing file is an empty list.

    A run that was killed may leave a torn line, and one that resumed repeats epochs:
    torn lines are skipped, and of the lines of one epoch and run the last one counts.

    Returns:
      One dict per (seed, fold, epoch), sorted by epoch within a run, runs in the order
      of their first line.
    """
    path = epath.Path(path)
    runs = collections.defaultdict(dict)
    for line in path.read_text().splitlines() if path.exists() else ():
        try:
            entry = json.loads(line)
            runs[entry["seed"], entry["fold"]][entry["epoch"]] = entry
        except (json.JSONDecodeError, KeyError, TypeError):
            continue
    return [epochs[epoch] for epochs in runs.values() for epoch in sorted(epochs)]


def _read_text(path) -> str:
    path = epath.Path(path)
    if not path.exists():
        raise InputError(
            f"expected the file {path}, got none; a workdir has it once training has "
            "ended: run the training command again, it resumes"
        )
    return path.read_bytes().decode()


def _group(predictions, runs) -> dict:
    """Predictions by (fold, seed); the runs must be exactly those of `runs`."""
    by_run = collections.defaultdict(dict)
    for record in predictions:
        tested = by_run[record.fold, record.seed]
        if record.utterance in tested:
            raise ValueError(
                f"expected {record.utterance} once in fold {record.fold}, seed "
                f"{record.seed}, got it twice; test every utterance once per run"
            )
        tested[record.utterance] = record
    named = [(meta["fold"], meta["seed"]) for meta in runs]
    if len(set(named)) != len(named) or set(named) != set(by_run):
        raise ValueError(
            f"expected predictions of the runs {named}, got those of {list(by_run)}; "
            "each run needs at least one tested utterance and one entry"
        )
    return {run: list(tested.values()) for run, tested in by_run.items()}


def _class_indices(records, classes) -> tuple[np.ndarray, np.ndarray]:
    index = {name: number for number, name in enumerate(classes)}
    for record in records:
        for name in (record.label, record.prediction):
            if name not in index:
                raise ValueError(
                    f"expected one of the classes {list(classes)} for "
                    f"{record.utterance}, got {name!r}"
                )
    labels = [index[record.label] for record in records]
    decided = [index[record.prediction] for record in records]
    return np.array(labels, np.int64), np.array(decided, np.int64)


def _assemble(about, scores) -> dict:
    """What was run, around the scores, in the order of design.md."""
    if absent := set(ABOUT).difference(about):
        raise ValueError(f"expected about to hold {ABOUT}, got none of {absent}")
    selection = about["protocol"]["selection"]
    return {
        **{key: about[key] for key in ABOUT[:4]},
        **scores,
        "selection": selection,
        "paper_mode": selection == "test",
        **{key: about[key] for key in ABOUT[4:]},
        # Where the frames lay while training and testing (training/feeder.py).
        **({"frames": about["frames"]} if about.get("frames") else {}),
        # How long the last process took to its first step, and what it compiled.
        **({"start_up": about["start_up"]} if about.get("start_up") else {}),
        # The most memory that the process which tested ever held.
        **({"memory": about["memory"]} if about.get("memory") else {}),
        # Only a model that reads has it.
        **({"text": about["text"]} if about.get("text") else {}),
    }


def _scores(confusion) -> dict:
    return {
        "wa": metrics.weighted_accuracy(confusion),
        "ua": metrics.unweighted_accuracy(confusion),
        "macro_f1": metrics.macro_f1(confusion),
    }


def _score_run(meta, confusion, classes) -> dict:
    support = confusion.sum(axis=1)
    return {
        "fold": meta["fold"],
        "seed": meta["seed"],
        **_scores(confusion),
        "n_test": int(support.sum()),
        "best_epoch": meta["best_epoch"],
        "epochs": meta["epochs"],
        "absent_classes": [classes[index] for index in np.flatnonzero(support == 0)],
    } | {key: value for key, value in meta.items() if key not in _OWN}


_OWN = ("fold", "seed", *SCORES, "n_test", "best_epoch", "epochs", "absent_classes")


def _mean_std(values) -> dict:
    spread = float(np.std(values, ddof=1)) if len(values) > 1 else 0.0
    return {"mean": float(np.mean(values)), "std": spread}


def _plain(value):
    """Python's own types only; tuples and arrays as lists, NaN and infinity as None."""
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, np.ndarray):
        return _plain(value.tolist())
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if isinstance(value, np.generic):
        return _plain(value.item())
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
