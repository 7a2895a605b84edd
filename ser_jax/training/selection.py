"""Validation: which state every run keeps, and when a run stops early."""

import jax
import numpy as np

from ser_jax import clock
from ser_jax.errors import InputError
from ser_jax.scoring import calibration, metrics
from ser_jax.training import lengths, optim, sweep
from ser_jax.training.trainer import Trainer
from ser_jax.workdir.checkpoint import RunRecord, Snapshot

_LARGEST = 1e6  # of vectors: no embedding has such numbers


@clock.part("validation")
def validate(config, trainer: Trainer, snapshot: Snapshot) -> list[dict]:
    """Scores the selecting part, keeps better states; the lines of the log.

    Raises:
      InputError: A loss, a gradient or a posterior was not finite.
    """
    totals = check_finite(trainer, snapshot)  # before anything is kept
    weights = [state.weights for state in trainer.states]
    selected = tested = _scores(trainer, weights, "select")
    if config.protocol.compare_selections and config.protocol.selection != "test":
        tested = _scores(trainer, weights, "test")
    rows, better = [], []
    for run, record in enumerate(snapshot.records):
        if lengths.has_ended(config.train, record):
            continue
        record.updates = lengths.next_validation(config.train, record)
        score = selected[run]
        record.ua = score.get("ua", -1.0)
        if _improves(config, record, score):
            record.best_update, record.best_ua = record.updates, record.ua
            record.best_loss = score.get("loss", float("inf"))
            better.append(run)
        if config.protocol.compare_selections:
            compare_selections(record, tested[run])
        record.active = not _is_out_of_patience(config.train, record)
        rows.append(_row(config, trainer, run, record, totals, score))
    if better:
        host = trainer.placement.collect(weights)
        snapshot.best = _replace_runs(snapshot.best, host, better)
    return rows


def compare_selections(record: RunRecord, tested: dict) -> None:
    """Writes down the test part's scores at the last and at its best validation.

    Nothing that trains, stops or is kept reads them.
    """
    now = {"update": record.updates, **tested}
    record.compared["last"] = now
    best = record.compared.get("test")
    if best is None or _rank(now) > _rank(best):
        record.compared["test"] = now


def _is_out_of_patience(train, record: RunRecord) -> bool:
    steps = record.steps_per_epoch
    patience = lengths.in_updates(train, "early_stop_updates", steps)
    return 0 < patience <= record.updates - record.best_update


def _scores(trainer: Trainer, weights, part: str) -> list[dict]:
    """Scores of each run's part, `select` or `test`; empty where it is."""
    segments = [getattr(run, part) for run in trainer.experiment.runs]
    labels = [trainer.experiment.labels[np.unique(x.utterance)] for x in segments]
    if not any(map(len, labels)):
        return [{} for _ in segments]
    posteriors = trainer.posteriors(weights, segments)
    return [_score(*of_run) for of_run in zip(posteriors, labels, strict=True)]


def _score(posteriors: np.ndarray, labels: np.ndarray) -> dict:
    """WA, UA, mean negative log posterior and decisions; {} without utterances."""
    if not len(labels):
        return {}
    num_classes = posteriors.shape[-1]
    confusion = metrics.confusion_matrix(labels, posteriors.argmax(-1), num_classes)
    return {
        "wa": metrics.weighted_accuracy(confusion),
        "ua": metrics.unweighted_accuracy(confusion),
        "loss": calibration.nll(posteriors, labels),
        "confusion": confusion.tolist(),
    }


def _improves(config, record: RunRecord, score: dict) -> bool:
    """Higher UA wins, then lower loss; without selection the last state is kept."""
    if config.protocol.selection == "last" or not score:
        return True
    return _rank(score) > (record.best_ua, -record.best_loss)


def _rank(score: dict) -> tuple[float, float]:
    # Few utterances validate, so UA is often equal; the loss tells such states apart.
    return score["ua"], -score["loss"]


def _replace_runs(stacked, new, runs: list[int]):
    def replace(old, fresh):
        # A copy: the old ones may be the initial states, or on their way to the disk.
        old = np.array(old)
        old[runs] = fresh[runs]
        return old

    return jax.tree.map(replace, stacked, new)


def _row(config, trainer, number: int, record: RunRecord, totals, score) -> dict:
    run = trainer.experiment.runs[number]
    fold = run.fold
    count = max(float(totals.count[number]), 1.0)
    last_rate = optim.learning_rate(
        sweep.config_of(config, run).train, record.updates - 1, record.steps_per_epoch
    )
    part = "test" if config.protocol.selection == "test" else "val"
    point = {} if run.point is None else {"point": run.point.number}
    return {
        "epoch": record.epochs,
        "update": record.updates,
        "fold": fold.name,
        "seed": fold.seed,
        **point,
        "train_loss": float(totals.loss[number]) / count,
        "train_wa": float(totals.correct[number]) / count,
        "learning_rate": float(last_rate),
        **{f"{part}_{name}": score[name] for name in ("wa", "ua", "loss") if score},
    }


def check_finite(trainer: Trainer, snapshot: Snapshot):
    """The totals since the last validation, if every loss and gradient was finite.

    Raises:
      InputError: Names run, epoch and step of the first that was not.
    """
    totals = trainer.placement.collect(trainer.totals)
    bad = np.flatnonzero(totals.bad_step >= 0)
    if len(bad):
        _check_features(trainer.experiment)
        fold = trainer.experiment.runs[bad[0]].fold
        record = snapshot.records[bad[0]]
        update = record.updates + int(totals.bad_step[bad[0]])
        epoch, step = divmod(update, record.steps_per_epoch)
        raise InputError(
            "Expected finite losses and gradients; got NaN or Inf in run "
            f"'{fold.name} seed {fold.seed}', epoch {epoch + 1}, step {step + 1}. "
            "Lower train.learning_rate, set train.grad_clip_norm, or use "
            "--config.model.dtype=float32. What was saved before is kept."
        )
    return totals


def _check_features(experiment) -> None:
    """Raises InputError that names a recording, or a file, if it is the cause."""
    for key in ("word_vectors", "speaker_embeddings"):
        table = getattr(experiment.tables, key)
        if table is not None and not np.abs(table).max(initial=0.0) < _LARGEST:
            raise InputError(
                f"data.{key}: expected numbers below {_LARGEST:g}; got "
                f"{np.abs(table).max():g}. Correct that file."
            )
    corpus = experiment.corpus
    for utterance, frames in zip(corpus.utterances, corpus.frames, strict=True):
        if not np.isfinite(frames).all():
            raise InputError(
                f"Expected finite features; got NaN or Inf in those of {utterance.id} "
                f"({utterance.wav}). Correct or leave out that recording, delete "
                f"{corpus.directory}, and train again: it is built anew."
            )
