"""Everything a training needs, made from a config: data, folds, windows, model."""

import dataclasses

import jax
import numpy as np
from flax import nnx

from ser_jax.corpora.utterance import Exclusion, Utterance
from ser_jax.data import build, normalize, protocols, segments, store
from ser_jax.data.batches import FrameBuffer, RunWindows
from ser_jax.errors import InputError
from ser_jax.models import MODELS
from ser_jax.training import losses, optim
from ser_jax.training import state as state_lib
from ser_jax.training.step import Constants


@dataclasses.dataclass(frozen=True)
class Experiment:
    """A corpus under a protocol, ready to train.

    Attributes:
      classes: Names of the K classes, in label order.
      labels: int32 [U], class of each used utterance.
      utterances: The used utterances, sorted by id.
      runs: Windows of every fold x seed.
      buffer: All frames of the used utterances and their copies.
      window_frames: T, frames of a window.
      constants: What each run keeps fixed, stacked [R, ...].
      excluded: What is left out, and why.
      padded: Ids of used utterances that fill less than one window.
      resampled: Recordings that came at another rate than the recipe's.
    """

    classes: tuple[str, ...]
    labels: np.ndarray
    utterances: tuple[Utterance, ...]
    runs: tuple[RunWindows, ...]
    buffer: FrameBuffer
    window_frames: int
    constants: Constants
    excluded: tuple[Exclusion, ...]
    padded: tuple[str, ...]
    resampled: int

    @property
    def input_shape(self) -> tuple[int, int, int]:
        """(T, F, C) of a training window."""
        return (self.window_frames, *self.buffer.frames.shape[1:])

    def names(self) -> list[str]:
        """One name per run, for logs: `session1 seed 0`."""
        return [f"{run.fold.name} seed {run.fold.seed}" for run in self.runs]


def prepare(config) -> Experiment:
    """Builds or reads the features, then forms folds and windows.

    Raises:
      InputError: For anything in the config or the corpus that cannot be used.
    """
    directory = build.ensure_built(config.data)
    whole = store.load(
        directory,
        channels=config.data.channels,
        copies=config.augment.vtlp != "none",
    )
    chosen = protocols.assign_classes(whole.utterances, config.data, config.protocol)
    corpus, labels, dropped = _usable(whole, chosen.labels, config)
    folds = protocols.make_folds(corpus.utterances, labels, config.protocol)
    runs, padded = _windows(corpus, folds, config)
    window_frames = segments.window_frames(corpus.spec, config.segment.window_s)
    return Experiment(
        classes=chosen.classes,
        labels=labels,
        utterances=corpus.utterances,
        runs=runs,
        buffer=FrameBuffer.from_store(corpus, window_frames),
        window_frames=window_frames,
        constants=_constants(corpus, runs, labels, len(chosen.classes), config),
        excluded=(*whole.excluded, *chosen.excluded, *dropped),
        padded=padded,
        resampled=whole.resampled,
    )


def new_states(config, experiment: Experiment):
    """Model definition and the states of all runs at step 0, a host tree [R, ...]."""

    def create(seed):
        model = MODELS[config.model.name](
            config.model,
            input_shape=experiment.input_shape,
            num_classes=len(experiment.classes),
            rngs=nnx.Rngs(jax.random.key(seed)),
        )
        return state_lib.create(model, optim.make_optimizer(config.train))

    seeds = experiment.constants.seed
    graphdef = create(seeds[0])[0]
    initial = jax.jit(lambda seed: create(seed)[1])
    states = [jax.device_get(initial(seed)) for seed in seeds]
    return graphdef, jax.tree.map(lambda *x: np.stack(x), *states)


def _usable(whole: store.Store, labels: np.ndarray, config):
    """The utterances that have a class and, if short ones are dropped, a window."""
    keep = labels >= 0
    dropped = []
    if config.segment.short == "drop":
        segment = config.segment
        cut = segments.cut(
            whole.num_samples, whole.spec, segment, step_s=segment.test_step_s
        )
        long = np.isin(np.arange(len(labels)), cut.utterance)
        short = np.flatnonzero(keep & ~long).tolist()
        dropped = [_too_short(whole, u, segment) for u in short]
        keep &= long
        left = len(np.unique(labels[keep]))
        if left < labels.max() + 1:
            raise InputError(
                "segment.short=drop: expected every class to keep utterances longer "
                f"than {segment.window_s} s; got {left} of {labels.max() + 1} classes. "
                "Set --config.segment.short=pad."
            )
    corpus = whole.take(np.flatnonzero(keep))
    return corpus, labels[keep].astype(np.int32), dropped


def _too_short(whole: store.Store, u: int, segment) -> Exclusion:
    seconds = whole.num_samples[u] / whole.spec.sample_rate_hz
    detail = f"expected more than {segment.window_s} s, got {seconds:.2f} s"
    return Exclusion(whole.utterances[u].id, "shorter than a window", detail)


def _windows(corpus: store.Store, folds, config):
    """Cuts the whole corpus at both steps, then deals the windows to the folds."""

    def cut(step_s):
        return segments.cut(
            corpus.num_samples, corpus.spec, config.segment, step_s=step_s
        )

    train = cut(config.segment.train_step_s)
    test = cut(config.segment.test_step_s)
    chooses = {"val": "val", "last": "val", "test": "test"}[config.protocol.selection]
    runs = tuple(
        RunWindows(
            fold=fold,
            train=train.take(fold.train),
            select=test.take(getattr(fold, chooses)),
            test=test.take(fold.test),
        )
        for fold in folds
    )
    return runs, tuple(corpus.utterances[u].id for u in test.padded)


def _constants(corpus, runs, labels, num_classes: int, config) -> Constants:
    moments = normalize.utterance_moments(corpus.frames)
    copies = 1 + corpus.warp_factors.shape[1] if config.augment.vtlp == "all" else 1
    shape = corpus.frames[0].shape[1:]
    rows = []
    for run in runs:
        mean, std = np.zeros(shape, np.float32), np.ones(shape, np.float32)
        if config.data.normalize == "fold":
            mean, std = normalize.fold_statistics(moments, run.fold.train)
        weight = np.ones(num_classes, np.float32)
        if config.train.class_weights == "balanced":
            weight = losses.balanced_class_weights(
                labels[run.train.utterance], num_classes
            )
        windows = len(run.train.utterance) * copies
        seed = np.random.SeedSequence([run.fold.seed, run.key]).generate_state(1)[0]
        steps = np.int32(-(-windows // config.train.batch_size))
        rows.append(Constants(mean, std, weight, steps, np.uint32(seed)))
    return jax.tree.map(lambda *x: np.stack(x), *rows)
