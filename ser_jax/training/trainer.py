"""The compiled functions of a training and the device arrays they work on."""

import functools

import jax
import numpy as np

from ser_jax.data import batches, schedule
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
        # Steps with windows of different sizes cannot share a call.
        mixed = len(experiment.sizes) > 1
        default = 1 if on_cpu else ACCELERATOR_STEPS_PER_CALL
        self.steps_per_call = 1 if mixed else config.train.steps_per_call or default
        graphdef, states = experiment_lib.new_states(config, experiment)
        self._initial = states
        self._tables = self.placement.replicate(experiment.tables)
        self._constants = self.placement.scatter(experiment.constants)
        self._train = {
            size: self.placement.compile(
                self._training_steps(graphdef, size), donate=(1, 2)
            )
            for size in experiment.sizes
        }
        self._predict = {
            size: self.placement.compile(self._prediction_steps(graphdef, size))
            for size in experiment.sizes
        }
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

    def train(self, chunk: Index, window_frames: int) -> None:
        """Runs the steps of a chunk [R, S, B] on every run that has examples in it.

        Args:
          chunk: Windows.
          window_frames: Frames to which they are padded, one of the buckets' sizes.
        """
        for wave in range(self.placement.waves):
            part = self.placement.select(chunk, wave)
            filler = self.placement.members(wave) >= self.placement.num_runs
            part.weight[filler] = 0.0
            if not part.weight.any():
                continue
            self.states[wave], self.totals[wave] = self._train[window_frames](
                self._tables,
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
        orders = [
            self._evaluation_order(x) if len(x.utterance) else None for x in windows
        ]
        planned = schedule.plan(
            [order and order[0] for order in orders], self.experiment.sizes
        )
        found = []
        for _, frames, chunk in schedule.chunks(planned, 0, self.steps_per_call):
            parts = [
                self._predict[frames](
                    self._tables,
                    weights[wave],
                    self.placement.put(self.placement.select(chunk, wave)),
                    self._constants[wave],
                )
                for wave in range(self.placement.waves)
            ]
            found.append(self.placement.collect(parts))
        _check_finite(found)
        scores = np.concatenate(found, axis=1)[:, : planned.steps]
        scores = scores.reshape(len(windows), -1, scores.shape[-1])
        counted = planned.index.weight.reshape(len(windows), -1) > 0
        rule = self.config.segment.vote
        return [
            _vote(_in_window_order(run[keep], order), x, rule)
            for run, keep, order, x in zip(
                scores, counted, orders, windows, strict=True
            )
        ]

    def _evaluation_order(self, windows):
        return batches.evaluation_order(
            windows,
            self.experiment.buffer,
            self.experiment.labels,
            batch_size=self.config.train.eval_batch_size,
            sizes=self.experiment.sizes,
        )

    def _batch(self, tables, index, constants, window_frames):
        pad = self.config.data.pad
        batch = step.gather(tables, constants, index, window_frames, pad)
        return self.placement.split_batch(batch)

    def _training_steps(self, graphdef, window_frames: int):
        optimizer = optim.make_optimizer(self.config.train)
        train_step = step.make_train_step(graphdef, optimizer, self.config)

        def one(tables, state, totals, index, constants):
            batch = self._batch(tables, index, constants, window_frames)
            return train_step(state, totals, batch, index, constants)

        def steps(tables, state, totals, chunk, constants):
            if self.steps_per_call == 1:  # convolutions in a loop use one CPU thread
                index = jax.tree.map(lambda x: x[0], chunk)
                return one(tables, state, totals, index, constants)

            def body(carry, index):
                return one(tables, *carry, index, constants), None

            return jax.lax.scan(body, (state, totals), chunk)[0]

        return steps

    def _prediction_steps(self, graphdef, window_frames: int):
        predict_step = step.make_predict_step(graphdef)

        def one(tables, weights, constants, index):
            batch = self._batch(tables, index, constants, window_frames)
            return predict_step(weights["params"], weights["stats"], batch)

        def steps(tables, weights, chunk, constants):
            predict = functools.partial(one, tables, weights, constants)
            if self.steps_per_call == 1:
                return predict(jax.tree.map(lambda x: x[0], chunk))[None]
            return jax.lax.map(predict, chunk)

        return steps


def _in_window_order(scores: np.ndarray, order) -> np.ndarray:
    """Puts the scores of all buckets back into the order of the windows."""
    places = np.concatenate(order[1]) if order else np.zeros(0, int)
    ordered = np.empty_like(scores)
    ordered[places] = scores
    return ordered


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
    return voting.vote(scores.astype(np.float64), place, len(utterances), rule)


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
