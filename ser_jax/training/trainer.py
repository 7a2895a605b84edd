"""The compiled functions of a training and the device arrays they work on."""

import functools

import jax
import numpy as np

from ser_jax import clock
from ser_jax.data import batches, sample_table, schedule
from ser_jax.data.batches import Index
from ser_jax.errors import InputError
from ser_jax.features.spec import RECIPES
from ser_jax.scoring import metrics, voting
from ser_jax.training import experiment as experiment_lib
from ser_jax.training import feeder, optim, runs, step
from ser_jax.training.feeder import Chunk
from ser_jax.training.state import Totals
from ser_jax.workdir.checkpoint import RunRecord, Snapshot

# Steps compiled into one call on accelerators: long enough that the host is never
# waited for, short enough that a stop signal is answered within seconds.
ACCELERATOR_STEPS_PER_CALL = 32


class Trainer:
    """All runs of an experiment on the devices.

    Attributes:
      experiment: Data, folds and windows.
      placement: Which run lives where.
      feeder: Where the frames lie.
      steps_per_call: Training steps compiled into one call.
      states: One stacked state per round.
      totals: One stacked `Totals` per round.
    """

    @clock.part("model")
    def __init__(self, config, experiment: experiment_lib.Experiment):
        """Creates the models, compiles nothing yet."""
        self.config = config
        self.experiment = experiment
        self.placement = runs.place(
            len(experiment.runs),
            mode=config.train.runs_per_device,
            num_devices=config.train.devices,
            per_call=config.train.runs_per_call,
        )
        on_cpu = jax.devices()[0].platform == "cpu"
        # Steps with windows of different sizes cannot share a call.
        mixed = len(experiment.sizes) > 1
        default = 1 if on_cpu else ACCELERATOR_STEPS_PER_CALL
        self.feeder = feeder.Feeder(
            _buffers(experiment),
            experiment.tables,
            self.placement,
            config.data,
        )
        default = self.feeder.steps_per_call(
            default,
            len(experiment.runs) * config.train.batch_size,
            experiment.sizes[-1],
        )
        self.steps_per_call = 1 if mixed else config.train.steps_per_call or default
        self._graphdef, self._initial = experiment_lib.new_states(config, experiment)
        self._programs = {}
        self.use(self.placement)

    def use(self, placement: runs.Placement) -> None:
        """Takes another placement on the same mesh; all states start anew."""
        self.placement = self.feeder.placement = placement
        if placement not in self._programs:
            self._programs[placement] = self._compiled()
        self._train, self._predict = self._programs[placement]
        self._constants = placement.scatter(self.experiment.constants)
        self.load(self.initial_snapshot())

    def _compiled(self) -> tuple[dict, dict]:
        """The training and the prediction call for each size of windows."""
        compile_ = self.placement.compile
        sizes = self.experiment.sizes
        train = {x: compile_(self._training_steps(x), donate=(1, 2)) for x in sizes}
        return train, {x: compile_(self._prediction_steps(x)) for x in sizes}

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

    def chunks(self, planned: schedule.Schedule, start: int = 0):
        """Prepares an epoch's calls from a step on, one ahead of the device.

        Yields:
          (number of the first step, frames of the windows, what `train` takes).
        """
        pieces = schedule.chunks(planned, start, self.steps_per_call)
        yield from self.feeder.chunks(pieces)

    def train(self, chunk: Index | list[Chunk | None], window_frames: int) -> None:
        """Runs the steps of a chunk on every run that has examples in it.

        Args:
          chunk: Windows [R, S, B], or what `chunks` made of them.
          window_frames: Frames to which they are padded, one of the buckets' sizes.
        """
        if isinstance(chunk, Index):
            chunk = self.feeder.chunk(chunk, window_frames)
        for number, part in enumerate(chunk):
            if part is not None:
                call = self._train[window_frames]
                self.states[number], self.totals[number] = call(
                    *self._reads(number, part)
                )

    def lowered(self, index: Index, window_frames: int) -> jax.stages.Lowered:
        """The first round's training call, to ask for its memory, cost or text."""
        part = self.feeder.chunk(index, window_frames)[0]
        return self._train[window_frames].lower(*self._reads(0, part))

    def _reads(self, number: int, part: Chunk) -> tuple:
        states, totals = self.states[number], self.totals[number]
        return self.feeder.tables, states, totals, part, self._constants[number]

    def posteriors(self, weights: list, windows: list) -> list[np.ndarray]:
        """Utterance posteriors of every run.

        Args:
          weights: One stacked object with `params` and `stats` per round.
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
        pieces = schedule.chunks(planned, 0, self.steps_per_call)
        for _, frames, chunk in self.feeder.chunks(pieces, skip=False):
            parts = [
                self._predict[frames](
                    self.feeder.tables, weights[number], part, self._constants[number]
                )
                for number, part in enumerate(chunk)
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

    def _batch(self, tables, chunk, constants, window_frames):
        tables, index = feeder.own_table(tables, chunk, window_frames)
        data = self.config.data
        batch = step.gather(tables, constants, index, window_frames, data)
        if tables.samples is not None:
            data = self.config.data
            batch["samples"] = sample_table.cut(
                tables,
                chunk.index,
                window_frames,
                RECIPES[data.recipe],
                data.channels,
                own=bool(chunk.rows),
            )
        return self.placement.split_batch(batch)

    def _training_steps(self, window_frames: int):
        optimizer = optim.make_optimizer(self.config.train)
        train_step = step.make_train_step(self._graphdef, optimizer, self.config)

        def one(tables, state, totals, chunk, constants):
            batch = self._batch(tables, chunk, constants, window_frames)
            return train_step(state, totals, batch, chunk.index, constants)

        def steps(tables, state, totals, chunk, constants):
            if self.steps_per_call == 1:  # convolutions in a loop use one CPU thread
                single = jax.tree.map(lambda x: x[0], chunk)
                return one(tables, state, totals, single, constants)

            def body(carry, single):
                return one(tables, *carry, single, constants), None

            return jax.lax.scan(body, (state, totals), chunk)[0]

        return steps

    def _prediction_steps(self, window_frames: int):
        predict_step = step.make_predict_step(self._graphdef)

        def one(tables, weights, constants, chunk):
            batch = self._batch(tables, chunk, constants, window_frames)
            return predict_step(weights["params"], weights["stats"], batch)

        def steps(tables, weights, chunk, constants):
            predict = functools.partial(one, tables, weights, constants)
            if self.steps_per_call == 1:
                return predict(jax.tree.map(lambda x: x[0], chunk))[None]
            return jax.lax.map(predict, chunk)

        return steps


def _buffers(experiment: experiment_lib.Experiment) -> dict:
    """What windows are cut from, by their field of `Tables`."""
    buffers = {"frames": experiment.buffer}
    if experiment.samples is not None:
        buffers["samples"] = experiment.samples
    return buffers


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
