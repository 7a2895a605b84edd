"""The command `baseline`: a linear SVM on exactly the folds of a trained workdir."""

import dataclasses
import time
from collections.abc import Iterator, Mapping, Sequence

import joblib
import numpy as np
from tqdm import tqdm

from ser_jax import clock
from ser_jax.baseline import feature_sets, svm
from ser_jax.corpora.utterance import Utterance
from ser_jax.datasets import build
from ser_jax.errors import InputError
from ser_jax.scoring import summary
from ser_jax.workdir import baseline as baseline_files
from ser_jax.workdir import contents, files, provenance, results
from ser_jax.workdir.config import as_config, with_corpus_at
from ser_jax.workdir.contents import WorkdirContents
from ser_jax.workdir.lock import lock
from ser_jax.workdir.predictions import Prediction
from ser_jax.workdir.workdir import Workdir

NAME = "linear SVM"
SELECTION = "cross-validation"  # what is chosen, C, is chosen in the training part
_OF_EPOCHS = ("PAPER MODE", "the test part is scored")  # promises of data/protocols.py
_PACKAGES = ("scikit-learn", "numpy", "scipy")


def ensure(workdir_path: str) -> None:
    """Runs the baseline unless the workdir has one."""
    if not baseline_files.exists(files.resolve(workdir_path)):
        run(workdir_path)


@clock.part("baseline")
def run(workdir_path: str, features: str = feature_sets.OURS, data: str = "") -> dict:
    """Fits the baseline and keeps it in the workdir's folder `baseline`.

    It trains on what the system had, the training and the validation part (in
    `speaker10` the training part alone: validation is the tested speaker's partner), on
    audio alone. Whatever the seed, the same parts give the same answers.

    Args:
      workdir_path: A folder whose training is complete.
      features: One of `feature_sets.SETS`.
      data: Manifest or folder of the corpus, if it has moved.

    Returns:
      The content of its results.json.

    Raises:
      InputError: The workdir, the corpus or the features cannot be used.
    """
    feature_sets.check(features)
    workdir = Workdir(workdir_path, create=False)
    training = contents.read(workdir.path, beside=False)  # or says what is missing
    config = with_corpus_at(as_config(workdir.read_config_of_corpus()), data)
    splits = files.read_json(workdir.path / files.SPLITS)
    with lock(workdir.path):
        began = time.monotonic()
        utterances = _listed(splits, config.data)
        vectors = feature_sets.load(features, utterances, config.data)
        workdir.check_splits(splits | {"sounds": vectors.sounds})
        seconds = {"features": round(time.monotonic() - began, 2)}
        began = time.monotonic()
        folds = _folds(training, splits, config.protocol.split)
        answers = _answers(folds, utterances, splits, training, vectors.values)
        lines = list(_lines(training, folds, answers))
        seconds["training"] = round(time.monotonic() - began, 2)
        content = _content(training, lines, folds, answers, features)
        total = round(sum(seconds.values()), 2)
        content |= {"seconds": seconds | {"total": total}}
        content |= {
            "baseline": {
                "features": features,
                "described": feature_sets.describe(features),
                "dimensions": vectors.values.shape[1],
                "unknown": sorted({answer.unknown for answer in answers.values()}),
            }
        }
        baseline_files.write(workdir.path, content, lines)
    return content


@dataclasses.dataclass(frozen=True)
class _Fold:
    """Ids of the utterances, sorted, so that equal folds of other seeds are equal."""

    train: tuple[str, ...]
    test: tuple[str, ...]


def _listed(splits: Mapping, data) -> list[Utterance]:
    """The used recordings, by id; InputError if the corpus has lost some."""
    found = {u.id: u for u in build.list_utterances(data)}
    wanted = sorted(splits["labels"])
    if absent := [name for name in wanted if name not in found]:
        raise InputError(
            f"expected the {len(wanted)} recordings of splits.json in the corpus; got "
            f"none for {len(absent)}, first {absent[0]}. Restore the corpus, or set "
            "--data=... if it has moved."
        )
    return [found[name] for name in wanted]


def _folds(training: WorkdirContents, splits: Mapping, split: str) -> dict:
    """{(fold, seed): `_Fold`}, in the order of the runs."""
    tested = {}
    for line in training.predictions:
        tested.setdefault((line.fold, line.seed), set()).add(line.utterance)
    found = {}
    for entry in splits["folds"]:
        key = entry["name"], entry["seed"]
        if tested.get(key) != {*entry["test"]}:
            raise InputError(
                f"expected the test part of fold {key[0]}, seed {key[1]}, of splits.json "
                "in predictions.csv, got other utterances; repeat `run.py evaluate`"
            )
        val = () if split == "speaker10" else entry["val"]
        train, test = sorted({*entry["train"], *val}), sorted(entry["test"])
        if both := sorted({*train} & {*test}):
            raise InputError(
                f"expected no utterance of fold {key[0]}, seed {key[1]}, of splits.json in "
                f"two parts; got {len(both)}, first {both[0]}, in training and test. Train "
                "anew: the system was tested on what it knows."
            )
        found[key] = _Fold(tuple(train), tuple(test))
    return found


def _check_speakers(folds: Mapping, speaker: Mapping[str, str]) -> None:
    """Raises InputError if a named speaker is in training and test of a fold."""
    for (name, seed), fold in folds.items():
        train, test = ({speaker[u] for u in part} for part in (fold.train, fold.test))
        if both := sorted((train & test) - {""}):
            raise InputError(
                f"expected no speaker of fold {name}, seed {seed}, of splits.json in two "
                f"parts, as results.json says; got {', '.join(both)} in training and test"
            )


def _answers(
    folds: Mapping,
    utterances: Sequence[Utterance],
    splits: Mapping,
    training: WorkdirContents,
    values: np.ndarray,
) -> dict[_Fold, svm.Answer]:
    """What the SVM of each different fold says of its test part."""
    row = {utterance.id: number for number, utterance in enumerate(utterances)}
    classes = list(training.classes)
    labels = np.array([classes.index(splits["labels"][name]) for name in row])
    # Of tested speakers the workdir knows which spellings are one.
    speaker = {utterance.id: utterance.speaker for utterance in utterances}
    speaker |= {line.utterance: line.speaker for line in training.predictions}
    speakers = np.array([*speaker.values()])
    if "speaker" in training.results["protocol"].get("kept_apart", ()):
        _check_speakers(folds, speaker)

    def answer(fold: _Fold) -> svm.Answer:
        train, test = ([row[name] for name in part] for part in (fold.train, fold.test))
        # Labels of the test part do not even get there.
        return svm.classify(
            values[train], labels[train], speakers[train], values[test], len(classes)
        )

    different = [*dict.fromkeys(folds.values())]
    # Fitting releases the GIL.
    found = joblib.Parallel(
        joblib.cpu_count(), prefer="threads", return_as="generator"
    )(joblib.delayed(answer)(fold) for fold in different)
    bar = tqdm(found, f"Baseline: {NAME}", len(different), unit="fold", delay=2)
    return dict(zip(different, bar, strict=True))


def _lines(training: WorkdirContents, folds, answers) -> Iterator[Prediction]:
    """The workdir's own lines with other answers."""
    said = {}
    for key, fold in folds.items():
        posteriors = answers[fold].posteriors
        said |= {(*key, u): p for u, p in zip(fold.test, posteriors, strict=True)}
    for line in training.predictions:
        posteriors = said[line.fold, line.seed, line.utterance]
        yield dataclasses.replace(
            line,
            prediction=training.classes[int(posteriors.argmax())],
            posteriors=tuple(posteriors.tolist()),
        )


def _content(training: WorkdirContents, lines, folds, answers, features) -> dict:
    """results.json: the workdir's own head, the baseline's scores."""
    ours, runs = training.results, []
    for run in ours["runs"]:
        fold = folds[run["fold"], run["seed"]]
        told = {"best_epoch": None, "epochs": None, "n_train": len(fold.train)}
        told |= {"n_val": 0, "cost": answers[fold].cost}
        kept = {key: run[key] for key in ("fold", "seed", "tested") if key in run}
        runs.append(kept | told)
    rules = ours["protocol"] | {"selection": SELECTION}
    promises = rules.get("promises", ())
    rules["promises"] = [x for x in promises if not x.startswith(_OF_EPOCHS)]
    if rules.get("target_use") == "unlabelled":  # it is scaled by its training part
        rules["target_use"] = "none" if any(x.corpus for x in lines) else ""
    head = ("corpus", "corpus_is_synthetic", "corpus_warnings", "utterances")
    about = {
        **{key: ours[key] for key in head if key in ours},
        "protocol": rules,
        "model": f"{NAME}, {features}",
        "seconds": {},
        "versions": provenance.package_versions(_PACKAGES),
        "git_commit": provenance.git_commit(),
    }
    return results.assemble(summary.summarise(lines, runs, training.classes), about)
