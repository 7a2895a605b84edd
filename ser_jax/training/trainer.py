"""The compiled functions of a training and the device arrays: what `loop` drives."""

import functools
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import numpy as np

from ser_jax import clock
from ser_jax.data import batches, step_plan
from ser_jax.data.batches import Index
from ser_jax.data.training_stream import TrainingStream
from ser_jax.errors import InputError
from ser_jax.predict import forward
from ser_jax.scoring import voting
from ser_jax.training import compilation, lengths, runs, step
from ser_jax.training import experiment as experiment_lib
from ser_jax.training.batch import make_batch
from ser_jax.training.feeder import Call, Feeder
from ser_jax.training.state import Totals
from ser_jax.workdir.checkpoint import RunRecord, Snapshot

# Steps compiled into one call on accelerators: long enough that the host is never
# waited for, short enough that a stop signal is answered within seconds.
ACCELERATOR_STEPS_PER_CALL = 32


class Trainer:
    """All runs of an experiment on the devices.

    `states` and `totals` hold a stacked `TrainState` and `Totals` per round of
    `placement`; a call trains `steps_per_call` steps of each.
    """

    @clock.part("model")
    def __init__(self, config, experiment: experiment_lib.Experiment):
        """Creates the models, compiles nothing yet."""
        self.config = config
        self.experiment = experiment
        train = config.train
        self.placement = self.place(train.runs_per_device, train.runs_per_call)
        self.feeder = Feeder(experiment, self.placement, config.data)
        self._steps_per_epoch = experiment.constants.steps_per_epoch.tolist()
        source = (experiment.frame_table, experiment.labels, config)
        self._streams = [
            TrainingStream(run, *source, sizes=experiment.sizes, steps_per_epoch=steps)
            for run, steps in zip(experiment.runs, self._steps_per_epoch, strict=True)
        ]
        self.steps_per_call = self._choose_steps_per_call()
        self._graphdef, self._initial, shared = experiment_lib.new_states(
            config, experiment
        )
        # What calls share: one copy on each device, however many runs.
        self._shared = self.feeder.tables, self.placement.replicate(shared)
        self._programs = {}  # by placement: autotune returns to one it has compiled
        self._compiled = None  # waits for what `compile_prediction` started
        self.use(self.placement)

    def _choose_steps_per_call(self) -> int:
        train, sizes = self.config.train, self.experiment.sizes
        if len(sizes) > 1:  # steps with segments of different sizes cannot share a call
            return 1
        if train.steps_per_call:
            return train.steps_per_call
        on_cpu = jax.devices()[0].platform == "cpu"
        most = 1 if on_cpu else ACCELERATOR_STEPS_PER_CALL
        # Calls of about equal length up to a validation: the last is filled with nothing.
        interval = train.validate_updates or max(self._steps_per_epoch)
        most = -(-interval // -(-interval // most))
        segments = len(self.experiment.runs) * train.batch_size
        return self.feeder.steps_per_call(most, segments, sizes[-1])

    def place(self, mode: str, per_call: int = 0) -> runs.Placement:
        """A placement of its runs on its devices, see `runs.place`."""
        num_runs, devices = len(self.experiment.runs), self.config.train.devices
        return runs.place(num_runs, mode=mode, num_devices=devices, per_call=per_call)

    def use(self, placement: runs.Placement) -> None:
        """Takes another placement on the same mesh; all states start anew."""
        self.placement = self.feeder.placement = placement
        if placement not in self._programs:
            self._programs[placement] = self._compile()
        self._train, self._predict = self._programs[placement]
        self._constants = placement.scatter(self.experiment.constants)
        self.load(self.initial_snapshot())

    def _compile(self) -> tuple[dict, dict]:
        """The training and the prediction call for each size of segments."""
        compile_, sizes = self.placement.compile, self.experiment.sizes
        # States and totals are given back updated, in the memory that they had.
        train = {x: compile_(self._training_steps(x), donate=(1, 2)) for x in sizes}
        return train, {x: compile_(self._prediction_steps(x)) for x in sizes}

    def initial_snapshot(self) -> Snapshot:
        """Where training starts."""
        num_runs = self.placement.num_runs
        zero = jax.device_get(Totals.zero())
        return Snapshot(
            states=self._initial,
            best=self._initial.weights,
            totals=jax.tree.map(lambda x: np.repeat(x[None], num_runs, 0), zero),
            records=[RunRecord(steps) for steps in self._steps_per_epoch],
        )

    def load(self, snapshot: Snapshot) -> None:
        """Puts a snapshot's states and totals on the devices."""
        self.states = self.placement.scatter(snapshot.states)
        self.totals = self.placement.scatter(snapshot.totals)

    def updates_done(self) -> np.ndarray:
        """Updates that each run has made, int [R]."""
        return self.placement.collect([state.step for state in self.states])

    def plan(
        self, records: Sequence[RunRecord], done: np.ndarray | None = None
    ) -> step_plan.StepPlan:
        """The steps up to the next validation; runs that have ended get none.

        `done` [R] are the updates that each run has made; None = none since its last
        validation.
        """
        train, orders = self.config.train, []
        if done is None:
            done = np.array([record.updates for record in records])
        for stream, record, start in zip(self._streams, records, done, strict=True):
            end = lengths.next_validation(train, record)
            ended = lengths.has_ended(train, record)
            orders.append(None if ended else stream.cut(int(start), end))
        return step_plan.together(orders)

    def calls(self, plan: step_plan.StepPlan):
        """Prepares the calls of a plan, one ahead of the device."""
        return self.feeder.calls(plan, self.steps_per_call)

    def train(self, call: Call) -> None:
        """Runs the steps of a call on every run that has examples in it."""
        for number, index in enumerate(call.rounds):
            if index is not None:
                compiled = self._train[call.window_frames]
                self.states[number], self.totals[number] = compiled(
                    *self._arguments(number, index)
                )

    def compile_prediction(self) -> None:
        """Starts to compile what validation calls, in threads beside the training."""
        if self._compiled is not None:
            return
        steps, batch = self.steps_per_call, self.config.train.eval_batch_size
        run = self.states[0].weights, self._constants[0]

        def compile_(size: int) -> Callable[[], object]:
            index = self.feeder.shapes(steps, batch, size)
            like = compilation.shapes((self._shared, run[0], index, run[1]))
            return lambda: self._predict[size].lower(*like).compile()

        sizes = self.experiment.sizes
        self._compiled = compilation.ahead([compile_(size) for size in sizes])

    def lowered(self, call: Call) -> jax.stages.Lowered:
        """The first round's training call, to ask for its memory, cost or text."""
        compiled = self._train[call.window_frames]
        return compiled.lower(*self._arguments(0, call.rounds[0]))

    def _arguments(self, number: int, index: Index) -> tuple:
        states, totals = self.states[number], self.totals[number]
        return self._shared, states, totals, index, self._constants[number]

    def posteriors(self, weights: list, segments: list) -> list[np.ndarray]:
        """Posteriors [U, K] of the sorted utterances of each run's `segments`.

        `weights` are a round's stacked `params` and `stats` each.

        Raises:
          InputError: A posterior is not finite.
        """
        vote = functools.partial(voting.vote, rule=self.config.segment.vote)
        return self._by_utterance(self._predict, weights, segments, vote)

    def embeddings(self, weights: list, segments: list) -> list[np.ndarray]:
        """As `posteriors`, what the models' last layer reads, mean of segments [U, D]."""
        compile_, answer = self.placement.compile, lambda model, x: model.embed(x)
        sizes = self.experiment.sizes
        embed = {x: compile_(self._prediction_steps(x, answer)) for x in sizes}
        return self._by_utterance(embed, weights, segments, _means)

    def _by_utterance(self, programs, weights, segments, join) -> list[np.ndarray]:
        data, size = self.experiment, self.config.train.eval_batch_size
        common = {"batch_size": size, "sizes": data.sizes}
        parts = [
            batches.evaluation_order(x, data.frame_table, data.labels, **common)
            for x in segments
        ]
        orders = [step_plan.order(x, data.sizes) for x in parts]
        planned = step_plan.together(orders)
        collected = []
        if self._compiled:
            self._compiled()
        for call in self.feeder.calls(planned, self.steps_per_call, training=False):
            predict = programs[call.window_frames]
            rounds = zip(weights, call.rounds, self._constants, strict=True)
            answers = [predict(self._shared, *arguments) for arguments in rounds]
            collected.append(self.placement.collect(answers))
        if not all(np.isfinite(x).all() for x in collected):
            raise InputError(
                "Expected finite posteriors; a network gave NaN or Inf although its "
                "losses were finite. Lower train.learning_rate or set "
                "train.grad_clip_norm; the last checkpoint is kept."
            )
        scores = np.concatenate(collected, axis=1)[:, : planned.steps]
        real, joined = planned.index.weight > 0, []
        for run in range(len(segments)):
            utterance = planned.index.utterance[run][real[run]]
            utterances, position = np.unique(utterance, return_inverse=True)
            joined.append(join(scores[run][real[run]], position, len(utterances)))
        return joined

    def _bind_make_batch(self, window_frames: int):
        options = {"config": self.config, "window_frames": window_frames}
        split = self.placement.split_batch

        def split_batch(tables, index, constants, key=None):
            # The index as well: otherwise each device could cut the whole batch.
            return split(make_batch(tables, split(index), constants, key, **options))

        return split_batch

    def _training_steps(self, window_frames: int):
        train_step = step.make_train_step(
            self._graphdef,
            self.config,
            self._bind_make_batch(window_frames),
        )

        def steps(shared, state, totals, index, constants):
            tables, pretrained = shared

            def body(carry, one):
                return train_step(tables, *carry, one, constants, pretrained), None

            if self.steps_per_call == 1:  # convolutions in a loop use one CPU thread
                return body((state, totals), jax.tree.map(lambda x: x[0], index))[0]
            return jax.lax.scan(body, (state, totals), index)[0]

        return steps

    def _prediction_steps(self, window_frames: int, answer=forward.posteriors):
        make = self._bind_make_batch(window_frames)

        def steps(shared, weights, index, constants):
            tables, pretrained = shared

            def one(step):
                model = forward.merge(self._graphdef, **weights, pretrained=pretrained)
                batch = jax.tree.map(lambda x: x[step], index)
                return answer(model, make(tables, batch, constants))

            if self.steps_per_call == 1:
                return one(0)[None]
            # A call is as long as training's, where often a few batches validate: steps
            # that only fill it up, which are its last ones, are not taken.
            count = index.weight.any(axis=1).sum()
            empty = jax.eval_shape(one, 0)
            empty = jnp.zeros((self.steps_per_call, *empty.shape), empty.dtype)
            return jax.lax.fori_loop(
                0, count, lambda step, out: out.at[step].set(one(step)), empty
            )

        return steps


def _means(rows: np.ndarray, utterance: np.ndarray, num_utterances: int) -> np.ndarray:
    """The mean of each utterance's rows [S, D], float64 [U, D]."""
    total = np.zeros((num_utterances, rows.shape[1]))
    np.add.at(total, utterance, rows)
    return total / np.bincount(utterance, minlength=num_utterances)[:, None]
