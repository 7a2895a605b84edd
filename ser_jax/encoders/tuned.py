"""A pretrained encoder inside of a model, which trains it: waveforms to frames."""

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Bool, Float, PRNGKeyArray

from ser_jax.encoders import load, tuning
from ser_jax.encoders.pooling import means
from ser_jax.encoders.spec import STEP_SAMPLES, EncoderSpec, pool_steps, read_spec
from ser_jax.encoders.stack import Hidden

FULL_SCALE = 32768.0  # of the samples that a model's frames hold


class TunedEncoder(nnx.Module):
    """Frames of 320 samples to frames of hidden states, as the frozen way stores them.

    In training stretches of steps and of channels are hidden, as when wav2vec 2.0 is
    fine-tuned (Baevski et al., 2020, section 4.3, after SpecAugment): before positions
    are added, a learned vector takes the place of the steps, and the channels are 0.

    Differs from wav2vec 2.0: that vector is 0 at first, not the one of pretraining.
    """

    def __init__(self, trunk: load.Encoder, spec: EncoderSpec, settings):
        """Reads with `trunk`; `settings` is `config.encoder`."""
        self.trunk, self.spec = trunk, spec
        self.layers = spec.wanted(settings.layers)
        self.pool_steps = pool_steps(settings.pool_s)
        self.steps = settings.mask_share, settings.mask_steps
        self.channels = settings.mask_channel_share, settings.mask_channels
        self.hidden = nnx.data(None)
        if settings.mask_share:
            self.hidden = nnx.Param(jnp.zeros(spec.width))
        self.deterministic = False

    def frames_shape(self, num_frames: int) -> tuple[int, int, int]:
        """[T, F, C] of what comes of so many frames of samples."""
        steps = self.spec.num_steps(num_frames * STEP_SAMPLES)
        return -(-steps // self.pool_steps), len(self.layers), self.spec.width

    def __call__(
        self,
        frames: Float[Array, "B N 1 W"],
        mask: Bool[Array, "B N"],
        *,
        rngs: nnx.Rngs | None = None,
    ) -> tuple[Float[Array, "B T F C"], Bool[Array, "B T"]]:
        """States of the layers, each a mean over `pool_steps` steps; which are valid.

        Args:
            frames: 320 samples each, as 16-bit numbers.
            mask: Which are an utterance's own.
            rngs: Stream `dropout`, needed in training if something is hidden.
        """
        samples = frames.reshape(len(frames), -1) / FULL_SCALE
        lengths = mask.sum(axis=1) * STEP_SAMPLES
        hidden = None if self.deterministic else self._hide(*samples.shape, rngs)
        states, steps = self.trunk(samples, lengths, self.layers, hidden)
        num = self.frames_shape(mask.shape[1])[0]
        pooled = means(states, steps, steps, self.pool_steps, num)
        last = -(-steps // self.pool_steps)
        valid = (jnp.arange(num) < last[:, None]) & mask.any(axis=1)[:, None]
        return pooled, valid

    def _hide(self, batch: int, num_samples: int, rngs: nnx.Rngs | None) -> Hidden:
        steps = vector = channels = None
        if self.hidden is not None:
            shape = batch, self.spec.num_steps(num_samples)
            steps = stretches(shape, *self.steps, rngs.dropout())
            vector = self.hidden[...]
        if self.channels[0]:
            shape = batch, self.spec.width
            channels = stretches(shape, *self.channels, rngs.dropout())
        return Hidden(steps, vector, channels)


def stretches(
    shape: tuple[int, int], share: float, size: int, key: PRNGKeyArray
) -> Bool[Array, "B T"]:
    """True in random stretches of `size` steps, which may overlap.

    Every step begins one with the probability share / size, so at most `share` of the
    steps are true, in the mean.
    """
    begins = jax.random.bernoulli(key, share / size, shape)
    counts = jnp.cumsum(jnp.pad(begins.astype(jnp.int32), ((0, 0), (size, 0))), axis=1)
    return counts[:, size:] > counts[:, :-size]


def make(settings, *, weights=None, rngs: nnx.Rngs) -> TunedEncoder:
    """The encoder of `config.encoder`, of which what `tuning` says learns.

    Args:
        settings: `config.encoder`.
        weights: From `pretrained`; None: shapes alone, under `nnx.eval_shape`.
        rngs: Stream `params`, for adapters.
    """
    spec = read_spec(settings.weights)
    options = {"dtype": settings.dtype, "remat": settings.remat}
    trunk = load.without_weights(spec, **options)
    if weights is None:
        shapes = nnx.state(trunk)
        weights = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), shapes)
    nnx.update(trunk, weights)
    highest = max(spec.wanted(settings.layers))
    if settings.tuning == "lora":
        size = {"rank": settings.lora_rank, "alpha": settings.lora_alpha}
        tuning.adapt(trunk, highest, rngs=rngs, **size)
    else:
        tuning.release(trunk, highest, train_front=settings.train_front)
    return TunedEncoder(trunk, spec, settings)


def pretrained(settings):
    """All weights of the encoder, as its file has them; none if it is not tuned."""
    if settings.tuning == "frozen":
        return nnx.State({})
    return nnx.state(load.load(settings.weights))
