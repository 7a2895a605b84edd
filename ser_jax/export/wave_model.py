"""A trained workdir as one pure function: samples and lengths in, probabilities out.

Segments, padding and votes are those of the evaluation. Rows are independent: neither
what a row holds behind its length nor the other rows change its answer.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from ser_jax.encoders import load
from ser_jax.features import hidden_states, online, segments
from ser_jax.features.recipe import StatesSpec, WaveformSpec
from ser_jax.predict import forward
from ser_jax.predict.trained_model import TrainedModel

_TOGETHER = 8  # segments at most that go through the model at once


def make(trained: TrainedModel, *, plain: bool = False) -> Callable:
    """Returns `f(samples float32 [B, N], lengths int32 [B]) -> float32 [B, K]`.

    Samples are at the recipe's rate; lengths beyond 1 ... N count as the nearer of the
    two. Segments are joined by `segment.vote`, then the runs are averaged.

    With `plain`, for converters, B and N are fixed, all segments that N holds are
    computed, and there is no loop around the model and no FFT. Without it B and N may
    be symbolic, and memory grows with N alone.
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


def _looped(
    trained: TrainedModel, samples: Float[Array, " N"], length: Int[Array, ""]
) -> Float[Array, " K"]:
    """Probabilities of one recording, in loops over its runs and segments."""
    vote, rule, layout = _segments(trained)
    frames, num_frames = _features(trained, samples, length, layout, fft=True)
    count = rule.count(length, num_frames, layout).clip(1)  # short ones are padded
    # As many as two windows hold: they overlap, or are few.
    two = np.int64(2 * layout.samples), np.int64(2 * layout.frames)
    together = int(rule.count(*two, layout).clip(1, _TOGETHER))

    def run(weights):
        def step(carry):
            first, votes = carry
            number = first + jnp.arange(together)
            start = rule.start(number, num_frames, layout)
            cut = jax.vmap(
                lambda at: jax.lax.dynamic_slice_in_dim(frames, at, layout.frames)
            )(jnp.minimum(start, num_frames))
            scores = _posteriors(trained, weights, cut, num_frames - start)
            votes = forward.accumulate_votes(vote, votes, scores, number < count)
            return first + together, votes

        start = jnp.int32(0), jnp.zeros(len(trained.classes))
        votes = jax.lax.while_loop(lambda carry: carry[0] < count, step, start)[1]
        return forward.finish_votes(vote, votes, count)

    stacked = trained.weights, trained.mean, trained.std
    return jax.lax.map(run, jax.tree.map(jnp.asarray, stacked)).mean(axis=0)


def _plain(
    trained: TrainedModel, samples: Float[Array, " N"], length: Int[Array, ""]
) -> Float[Array, " K"]:
    """Probabilities of one recording; all segments that N samples can have."""
    vote, rule, layout = _segments(trained)
    frames, num_frames = _features(trained, samples, length, layout, fft=False)
    longest = np.int64(samples.shape[0])
    longest_frames = np.int64(trained.spec.num_frames(samples.shape[0]))
    number = np.arange(rule.count(longest, longest_frames, layout).clip(1))
    start = rule.start(number, num_frames, layout)
    if isinstance(start, np.ndarray):  # known now: a slice is cheaper than a gather
        cut = [frames[at : at + layout.frames] for at in start.tolist()]
    else:
        take = jax.lax.dynamic_slice_in_dim
        cut = [take(frames, start[k], layout.frames) for k in number]
    cut, count = jnp.stack(cut), rule.count(length, num_frames, layout).clip(1)
    answers = []
    for r in range(len(trained.runs)):
        weights = jax.tree.map(jnp.asarray, trained.run_weights(r))
        scores = _posteriors(trained, weights, cut, num_frames - start)
        votes = forward.accumulate_votes(vote, 0.0, scores, number < count)
        answers.append(forward.finish_votes(vote, votes, count))
    return sum(answers) / len(answers)


def _segments(trained: TrainedModel) -> tuple[str, segments.Rule, segments.Layout]:
    segment = trained.config.segment
    layout = segments.Layout.of(trained.spec, segment.window_s, segment.test_step_s)
    return segment.vote, segments.RULES[segment.rule], layout


def _features(trained: TrainedModel, samples, length, layout, *, fft: bool):
    """Frames [T + a segment, F, C] of a recording, zeros at the end; how many it has."""
    if trained.config.data.level == "unit":
        samples = _to_unit_level(samples, length)
    spec, length = trained.spec, length[None]
    if isinstance(spec, StatesSpec):
        # Loaded again for every trace: its weights become constants of the program.
        encoder = load.load(spec.encoder.name)
        frames = hidden_states.traced(encoder, spec, samples, length[0])
    elif isinstance(spec, WaveformSpec):
        frames = _samples(samples, length[0], spec.hop_samples)
    else:
        frames, _ = online.features(samples[None], length, spec, fft=fft)
        frames = frames[0, ..., : trained.config.data.channels or None]
    # `dynamic_slice` would move a slice that passes the end.
    frames = jnp.pad(frames, ((0, layout.frames), (0, 0), (0, 0)))
    return frames, spec.num_frames(length)[0]


def _samples(samples, length, hop: int):
    """Frames [T, 1, hop] of the first `length` samples, as `WaveformSpec.frames`."""
    numbers = jnp.clip(jnp.rint(samples * 32768.0), -32768, 32767)
    numbers = jnp.where(jnp.arange(samples.shape[0]) < length, numbers, 0.0)
    filled = jnp.pad(numbers, (0, -(-samples.shape[0] // hop) * hop - samples.shape[0]))
    return filled.reshape(-1, 1, hop)


def _to_unit_level(samples, length):
    """Zero mean and unit variance of the first `length` samples, zeros behind."""
    is_real = jnp.arange(samples.shape[0]) < length
    mean = jnp.where(is_real, samples, 0.0).sum() / length
    centred = jnp.where(is_real, samples - mean, 0.0)
    std = jnp.sqrt(jnp.square(centred).sum() / length)
    return centred / jnp.where(std > 0, std, 1.0)


def _posteriors(
    trained: TrainedModel, weights, cut: Float[Array, "S T F C"], left: Int[Array, " S"]
) -> Float[Array, "S K"]:
    """Posteriors of segments by one run; `left` frames from each start to the end."""
    weights, mean, std = weights
    batch = forward.model_inputs(cut, left, mean, std, trained.config.data)
    return forward.posteriors(trained.merge(weights), batch)
