"""A trained workdir as one pure function: samples and lengths in, probabilities out.

Windows, padding and votes are those of the evaluation. Every row is worked on alone:
neither what lies behind its length nor the other rows change its answer.
"""

import dataclasses
from collections.abc import Callable

import jax
import jax.extend
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from ser_jax.features import online, segments
from ser_jax.predict import forward
from ser_jax.predict.trained_model import TrainedModel

_TOGETHER = 8  # windows that overlap go through the model together, at most so many


@dataclasses.dataclass(frozen=True)
class Windows:
    """Where the windows of a recording lie; `segments.cut` in JAX, short = pad.

    Attributes:
      rule: `config.segment.rule`.
      frames: Of a window.
      step: From one start to the next, frames.
      samples: Of a window.
      hop: From one frame to the next, samples.
    """

    rule: str
    frames: int
    step: int
    samples: int
    hop: int

    @classmethod
    def of(cls, trained: TrainedModel) -> "Windows":
        """The windows that a workdir was tested with."""
        spec, segment = trained.spec, trained.config.segment
        frames = segments.window_frames(spec, segment.window_s)
        rate = spec.sample_rate_hz
        step = max(1, round(segment.test_step_s * rate / spec.hop_samples))
        if segment.rule == "tile":
            step = min(step, frames)
        samples = round(segment.window_s * rate)
        return cls(segment.rule, frames, step, samples, spec.hop_samples)

    @property
    def together(self) -> int:
        """Windows that go through the model at once: what lies in two of them."""
        if self.rule != "slide":
            return 1
        return min(max(self.frames // self.step, 1), _TOGETHER)

    def count(self, length, num_frames):
        """How many windows a recording has, at least 1; NumPy or JAX integers.

        Args:
          length: Samples.
          num_frames: Frames.
        """
        if self.rule == "slide":
            found = -((self.samples - length) // (self.step * self.hop))
        elif self.rule == "tile":
            found = 1 - (self.frames - num_frames) // self.step
        elif self.rule == "first_last":
            found = 1 + (num_frames > self.frames)
        else:
            found = num_frames * 0 + 1
        return found.clip(1)

    def start(self, number, num_frames):
        """First frame of the windows with these numbers."""
        if self.rule == "first_last":
            return number * (num_frames - self.frames).clip(0)
        return number * self.step


def make(trained: TrainedModel, *, plain: bool = False) -> Callable:
    """Returns `f(samples float32 [B, N], lengths int32 [B]) -> float32 [B, K]`.

    Samples are at the recipe's rate; lengths beyond 1 ... N count as the nearer of the
    two. The posteriors of a row's windows are joined as `segment.vote` says, then the
    runs are averaged.

    Args:
      trained: The workdir.
      plain: False: loops over rows, runs and windows, so that the program has one size
        for any B and N, which may be symbolic, and its memory grows with N alone.
        True: for converters: B and N are fixed, all windows that N holds are computed,
        and there is no loop around the model and no FFT.
    """

    def probabilities(
        samples: Float[Array, "B N"], lengths: Int[Array, " B"]
    ) -> Float[Array, "B K"]:
        lengths = jnp.clip(lengths, 1, samples.shape[1])
        if plain:
            rows = range(samples.shape[0])
            return jnp.stack([_plain(trained, samples[b], lengths[b]) for b in rows])
        return jax.lax.map(lambda row: _looped(trained, *row), (samples, lengths))

    return probabilities


def unrolled(trained: TrainedModel, num_samples: int) -> jax.extend.core.ClosedJaxpr:
    """The plain program for [1, N] samples with every loop written out."""
    with jax.disable_jit():
        return jax.make_jaxpr(make(trained, plain=True))(
            jax.ShapeDtypeStruct((1, num_samples), jnp.float32),
            jax.ShapeDtypeStruct((1,), jnp.int32),
        )


def _looped(
    trained: TrainedModel, samples: Float[Array, " N"], length: Int[Array, ""]
) -> Float[Array, " K"]:
    """Probabilities of one recording; as many windows as it has."""
    windows, vote = Windows.of(trained), trained.config.segment.vote
    frames, num_frames = _features(trained, samples, length, fft=True)
    count = windows.count(length, num_frames)

    def run(weights):
        def step(carry):
            first, votes = carry
            number = first + jnp.arange(windows.together)
            start = windows.start(number, num_frames)
            cut = jax.vmap(
                lambda at: jax.lax.dynamic_slice_in_dim(frames, at, windows.frames)
            )(jnp.minimum(start, num_frames))
            scores = posteriors(trained, weights, cut, num_frames - start)
            scores = jnp.where((number < count)[:, None], scores, 0.0)
            return first + windows.together, _joined(vote, votes, scores)

        start = jnp.int32(0), jnp.zeros(len(trained.classes))
        votes = jax.lax.while_loop(lambda carry: carry[0] < count, step, start)[1]
        return votes / votes.sum()

    return jax.lax.map(run, _runs(trained)).mean(axis=0)


def _plain(
    trained: TrainedModel, samples: Float[Array, " N"], length: Int[Array, ""]
) -> Float[Array, " K"]:
    """Probabilities of one recording; all windows that N samples can have."""
    windows, vote = Windows.of(trained), trained.config.segment.vote
    frames, num_frames = _features(trained, samples, length, fft=False)
    longest = np.int64(samples.shape[0])
    total = np.int64(trained.spec.num_frames(samples.shape[0]))
    number = np.arange(windows.count(longest, total))
    start = windows.start(number, num_frames)
    if windows.rule == "first_last":
        cuts = [
            jax.lax.dynamic_slice_in_dim(frames, start[k], windows.frames)
            for k in number
        ]
    else:
        at = windows.start(number, total)
        cuts = [frames[k : k + windows.frames] for k in at.tolist()]
    cut, real = jnp.stack(cuts), number < windows.count(length, num_frames)
    answers = []
    for r in range(len(trained.runs)):
        weights = jax.tree.map(jnp.asarray, trained.run_weights(r))
        scores = posteriors(trained, weights, cut, num_frames - start)
        votes = _joined(vote, 0.0, jnp.where(real[:, None], scores, 0.0))
        answers.append(votes / votes.sum())
    return sum(answers) / len(answers)


def _features(trained: TrainedModel, samples, length, *, fft: bool):
    """Frames [T + a window, F, C] of a recording, zeros at the end; how many it has."""
    spec, length = trained.spec, length[None]
    frames, _ = online.features(samples[None], length, spec, fft=fft)
    frames = frames[0, ..., : trained.config.data.channels]
    behind = Windows.of(trained).frames
    frames = jnp.pad(frames, ((0, behind), (0, 0), (0, 0)))
    return frames, online.num_frames(length, spec)[0]


def posteriors(
    trained: TrainedModel, weights, cut: Float[Array, "S T F C"], left: Int[Array, " S"]
) -> Float[Array, "S K"]:
    """Posteriors of windows by one run.

    Args:
      trained: The workdir.
      weights: (weights, mean, std) of the run.
      cut: The windows; behind the recording they may hold anything.
      left: Frames from the first of a window to the last of the recording.
    """
    weights, mean, std = weights
    batch = forward.model_inputs(cut, left, mean, std, trained.config.data)
    return forward.posteriors(trained.merge(weights), batch)


def _joined(vote: str, votes, scores):
    """Votes with those of more windows; dividing by their sum finishes either rule."""
    if vote == "mean":
        return votes + scores.sum(axis=0)
    return jnp.maximum(votes, scores.max(axis=0))


def _runs(trained: TrainedModel):
    """(weights, mean, std) of all runs, [R, ...]."""
    stacked = trained.weights, trained.mean, trained.std
    return jax.tree.map(jnp.asarray, stacked)
