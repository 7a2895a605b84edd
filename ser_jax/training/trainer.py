"""The compiled functions of a training and the device arrays they work on."""

import functools

import jax
import numpy as np

from ser_jax.data import batches
from ser_jax.data.batches import Index
from ser_jax.errors import InputError
from ser_jax.evaluation import metrics, voting
from ser_jax.training import experiment as experiment_lib
from ser_jax.training import optim, runs, step
from ser_jax.training.checkpoint import RunRecord, Snapshot
from ser_jax.training.state import Totals

# Steps compiled into one call on accelerators: long enough that the host is never
# waited for, short enough that a stop signal is answered within seconds.
ACCELERATOR_STEPS_PER_CALL = 32


class Trainer:
    """All runs of an experiment on the devices.

    Attributes:
      experiment: Data, folds and windows.
      placement: Which run lives where.
      steps_per_call: Training steps compiled into one call.
      states: One stacked state per wave.
      totals: One stacked `Totals` per wave.
    """

    def __init__(self, config, experiment: experiment_lib.Experiment):
        """Creates the models, compiles nothing yet."""
        self.config = config
        self.experiment = experiment
        self.placement = runs.place(
            len(experiment.runs),
            mode=config.train.runs_per_device,
            num_devices=config.train.devices,
        )
        on_cpu = jax.devices()[0].platform == "cpu"
        self.steps_per_call = config.train.steps_per_call or (
            1 if on_cpu else ACCELERATOR_STEPS_PER_CALL
        )
        graphdef, states = experiment_lib.new_states(config, experiment)
        self._initial = states
        self._buffer = self.placement.replicate(experiment.buffer.frames)
        self._constants = self.placement.scatter(experiment.constants)
        self._train = self.placement.compile(
            self._training_steps(graphdef), donate=(1, 2)
        )
        self._predict = self.placement.compile(self._prediction_steps(graphdef))
        self.load(self.initial_snapshot())

    def initial_snapshot(self) -> Snapshot:
        """Where training starts."""
        num_runs = self.placement.num_runs
        zero = jax.device_get(Totals.zero())
        return Snapshot(
            states=self._initial,
            best={"params": self._initial.params, "stats": self._initial.stats},
            totals=jax.tree.map(lambda x: np.repeat(x[None], num_runs, 0), zero),
            records=[RunRecord() for _ in range(num_runs)],
        )

    def load(self, snapshot: Snapshot) -> None:
        """Puts a snapshot's states and totals on the devices."""
        self.states = self.placement.scatter(snapshot.states)
        self.totals = self.placement.scatter(snapshot.totals)

    def start_epoch(self) -> None:
        """Sets the totals to zero."""
        self.totals = self.placement.scatter(self.initial_snapshot().totals)

    def train(self, chunk: Index) -> None:
        """Runs the steps of a chunk [R, S, B] on every run that has examples in it."""
        for wave in range(self.placement.waves):
            part = self.placement.select(chunk, wave)
            filler = self.placement.members(wave) >= self.placement.num_runs
            part.weight[filler] = 0.0
            if not part.weight.any():
                continue
            self.states[wave], self.totals[wave] = self._train(
                self._buffer,
                self.states[wave],
                self.totals[wave],
                self.placement.put(part),
                self._constants[wave],
            )

    def posteriors(self, weights: list, windows: list) -> list[np.ndarray]:
        """Utterance posteriors of every run.

        Args:
          weights: One stacked object with `params` and `stats` per wave.
          windows: One `Segments` per run; a run with none gives an empty array.

        Returns:
          Per run float32 [U, K], in the order of the sorted utterances of its windows.
        """
        index = batches.stack_runs(
            [self._evaluation_index(x) if len(x.utterance) else None for x in windows]
        )
        num_runs, steps = index.start.shape[:2]
        size = self.steps_per_call
        found = []
        for first in range(0, steps, size):
            chunk = _chunk(index, first, size)
            parts = [
                self._predict(
                    self._buffer,
                    weights[wave],
                    self.placement.put(self.placement.select(chunk, wave)),
                    self._constants[wave],
                )
                for wave in range(self.placement.waves)
            ]
            found.append(self.placement.collect(parts))
        _check_finite(found)
        scores = np.concatenate(found, axis=1).reshape(num_runs, -1, found[0].shape[-1])
        rule = self.config.segment.vote
        return [_vote(run, x, rule) for run, x in zip(scores, windows, strict=True)]

    def _evaluation_index(self, windows) -> Index:
        return batches.evaluation_order(
            windows,
            self.experiment.buffer,
            self.experiment.labels,
            batch_size=self.config.train.eval_batch_size,
        )

    def _batch(self, buffer, index, constants):
        window = self.experiment.window_frames
        batch = step.gather(buffer, constants, index, window)
        return self.placement.split_batch(batch)

    def _training_steps(self, graphdef):
        optimizer = optim.make_optimizer(self.config.train)
        train_step = step.make_train_step(graphdef, optimizer, self.config)

        def one(buffer, state, totals, index, constants):
            batch = self._batch(buffer, index, constants)
            return train_step(state, totals, batch, index, constants)

        def steps(buffer, state, totals, chunk, constants):
            if self.steps_per_call == 1:  # convolutions in a loop use one CPU thread
                index = jax.tree.map(lambda x: x[0], chunk)
                return one(buffer, state, totals, index, constants)

            def body(carry, index):
                return one(buffer, *carry, index, constants), None

            return jax.lax.scan(body, (state, totals), chunk)[0]

        return steps

    def _prediction_steps(self, graphdef):
        predict_step = step.make_predict_step(graphdef)

        def one(buffer, weights, constants, index):
            batch = self._batch(buffer, index, constants)
            return predict_step(weights["params"], weights["stats"], batch)

        def steps(buffer, weights, chunk, constants):
            predict = functools.partial(one, buffer, weights, constants)
            if self.steps_per_call == 1:
                return predict(jax.tree.map(lambda x: x[0], chunk))[None]
            return jax.lax.map(predict, chunk)

        return steps


def chunks(index: Index, start: int, size: int):
    """Cuts batches [R, S, B] into pieces of `size` steps, the last one filled up."""
    for first in range(start, index.start.shape[1], size):
        yield first, _chunk(index, first, size)


def _chunk(index: Index, first: int, size: int) -> Index:
    def cut(array):
        piece = array[:, first : first + size]
        return np.pad(piece, ((0, 0), (0, size - piece.shape[1]), (0, 0)))

    return Index(*map(cut, index))


def _check_finite(found: list[np.ndarray]) -> None:
    if not all(np.isfinite(x).all() for x in found):
        raise InputError(
            "Expected finite posteriors; a network gave NaN or Inf although its losses "
            "were finite. Lower train.learning_rate or set train.grad_clip_norm; the "
            "checkpoint before this epoch is kept."
        )


def _vote(scores: np.ndarray, windows, rule: str) -> np.ndarray:
    utterances, place = np.unique(windows.utterance, return_inverse=True)
    if not len(utterances):
        return np.zeros((0, scores.shape[-1]))
    scores = scores[: len(place)].astype(np.float64)
    return voting.vote(scores, place, len(utterances), rule)


def scores(posteriors: np.ndarray, labels: np.ndarray) -> dict[str, float]:
    """WA, UA and mean negative log posterior of utterances.

    Args:
      posteriors: [U, K].
      labels: int [U].
    """
    confusion = metrics.confusion_matrix(
        labels, posteriors.argmax(-1), posteriors.shape[-1]
    )
    chosen = posteriors[np.arange(len(labels)), labels]
    return {
        "wa": metrics.weighted_accuracy(confusion),
        "ua": metrics.unweighted_accuracy(confusion),
        "loss": float(-np.log(np.maximum(chosen, 1e-12)).mean()),
    }
