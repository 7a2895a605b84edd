"""What wav2vec 2.0 and its kin do before the transformer: samples to steps."""

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float, Int

from ser_jax.encoders.stack import ACTIVATIONS, Linear, call, layer_norm, valid
from ser_jax.encoders.wav2vec2_config import Wav2Vec2Config

WAVE_EPSILON = 1e-7
CONV_EPSILON = 1e-5


def normalized_wave(
    samples: Float[Array, "B N"], lengths: Int[Array, " B"]
) -> Float[Array, "B N"]:
    """Every utterance with mean 0 and variance 1 over its own samples, then zeros."""
    own = valid(samples.shape[1], lengths)[..., 0]
    count = jnp.maximum(lengths, 1)[:, None]
    samples = jnp.where(own, samples.astype(jnp.float32), 0)
    mean = samples.sum(axis=1, keepdims=True) / count
    samples = jnp.where(own, samples - mean, 0)
    variance = jnp.square(samples).sum(axis=1, keepdims=True) / count
    return samples * jax.lax.rsqrt(variance + WAVE_EPSILON)


class WaveConv(nnx.Module):
    """A convolution without padding, a norm or none, an activation."""

    def __init__(self, config: Wav2Vec2Config, index: int, *, dtype, rngs: nnx.Rngs):
        """Makes the layer `index` of the front."""
        width = config.conv_widths[index]
        common = {"dtype": dtype, "rngs": rngs}
        self.conv = nnx.Conv(
            (1, *config.conv_widths)[index],
            width,
            config.conv_kernels[index],
            strides=config.conv_strides[index],
            padding="VALID",
            use_bias=config.conv_bias,
            **common,
        )
        self.over_time = config.front_norm == "group"
        self.norm = nnx.data(None)
        if not self.over_time:
            self.norm = layer_norm(width, CONV_EPSILON, **common)
        elif index == 0:
            self.norm = nnx.InstanceNorm(
                width, epsilon=CONV_EPSILON, use_fast_variance=False, **common
            )
        self.activation = config.front_activation

    def __call__(
        self, x: Float[Array, "B T C"], counts: Int[Array, " B"]
    ) -> Float[Array, "B S D"]:
        """`counts`: the steps of each utterance in the result."""
        x = self.conv(x)
        if self.norm is not None:
            mask = {"mask": valid(x.shape[1], counts)} if self.over_time else {}
            x = self.norm(x, **mask)
        return ACTIVATIONS[self.activation](x)


class WaveFront(nnx.Module):
    """Samples to the transformer's width, a step every 20 ms.

    No step reads a sample behind its utterance, and norms over time know where it ends.

    Source: Baevski et al., wav2vec 2.0, 2020 (arXiv 2006.11477), section 2.
    """

    def __init__(
        self, config: Wav2Vec2Config, *, dtype, remat: bool = False, rngs: nnx.Rngs
    ):
        """Makes the convolutions, and the projection of what they end in."""
        common = {"dtype": dtype, "rngs": rngs}
        count, width = len(config.conv_widths), config.conv_widths[-1]
        self.convs = nnx.List(WaveConv(config, i, **common) for i in range(count))
        self.norm = nnx.data(None)
        if config.project_norm:
            self.norm = layer_norm(width, config.epsilon, **common)
        self.project = Linear(width, config.width, **common)
        self.config, self.remat = config, remat

    def __call__(
        self, samples: Float[Array, "B N"], lengths: Int[Array, " B"]
    ) -> tuple[Float[Array, "B T D"], Int[Array, " B"]]:
        """Features, zeros behind an utterance's steps; and the steps."""
        config = self.config
        if config.normalize_wave:
            samples = normalized_wave(samples, lengths)
        window = config.window_samples
        samples = jnp.pad(samples, ((0, 0), (0, max(0, window - samples.shape[1]))))
        x = jnp.where(valid(samples.shape[1], lengths), samples[..., None], 0)
        counts = jnp.maximum(lengths, window)
        for conv, kernel, stride in zip(
            self.convs, config.conv_kernels, config.conv_strides, strict=True
        ):
            counts = (counts - kernel) // stride + 1
            x = call(conv, x, counts, remat=self.remat)
        x = self.project(x if self.norm is None else self.norm(x))
        return jnp.where(valid(x.shape[1], counts), x, 0), counts


class PositionConv(nnx.Module):
    """Positions as a grouped convolution of the features: x + activation(conv(x)).

    Its kernel is weight normalized, w = g v / |v|, one length g for each of its steps;
    or it is plain and reads the features after batch norm with the running statistics.

    Source: Baevski et al., wav2vec 2.0, 2020 (arXiv 2006.11477), section 2.
    """

    def __init__(self, config: Wav2Vec2Config, *, dtype, rngs: nnx.Rngs):
        """Makes the convolution over `position_kernel` steps."""
        width, size = config.width, config.position_kernel
        shape = (size, width // config.position_groups, width)
        std = 2 / (size * width) ** 0.5
        kernel = std * jax.random.normal(rngs.params(), shape)
        self.bias = nnx.Param(jnp.zeros(width))
        self.normed = not config.position_batch_norm
        if self.normed:
            self.direction = nnx.Param(kernel)
            self.length = nnx.Param(_step_norms(kernel))
        else:
            self.kernel = nnx.Param(kernel)
            self.batch_norm = nnx.BatchNorm(width, dtype=dtype, rngs=rngs)
        self.groups, self.dtype = config.position_groups, dtype
        self.activation = config.front_activation

    def __call__(
        self, x: Float[Array, "B T D"], steps: Int[Array, " B"]
    ) -> Float[Array, "B T D"]:
        """`x` is 0 behind an utterance's steps."""
        y = x
        if self.normed:
            direction = self.direction[...]
            kernel = direction * (self.length[...] / _step_norms(direction))
        else:
            kernel = self.kernel[...]
            y = self.batch_norm(y, use_running_average=True)
            y = jnp.where(valid(y.shape[1], steps), y, 0)
        y = self._convolve(y, kernel.astype(self.dtype))
        y = y + self.bias[...].astype(self.dtype)
        return x + ACTIVATIONS[self.activation](y)

    def _convolve(
        self, x: Float[Array, "B T D"], kernel: Float[Array, "K d D"]
    ) -> Float[Array, "B T D"]:
        # The step more that an even kernel would give is left out at the end.
        size = kernel.shape[0]
        x = jnp.pad(x, ((0, 0), (size // 2, (size - 1) // 2), (0, 0)))
        # On a CPU, XLA needs ten times as long for a grouped convolution's gradient.
        parts = [
            unpadded_conv(part, weights)
            for part, weights in zip(
                jnp.split(x, self.groups, axis=-1),
                jnp.split(kernel, self.groups, axis=-1),
                strict=True,
            )
        ]
        return jnp.concatenate(parts, axis=-1)


@jax.custom_vjp
def unpadded_conv(
    x: Float[Array, "B T C"], kernel: Float[Array, "K C D"]
) -> Float[Array, "B S D"]:
    """A convolution with many steps where they overlap whole: S = T - K + 1.

    On a CPU, XLA takes fifty times as long for one that pads by itself, as its own
    gradient does, and merges a padding before it unless a barrier keeps them apart.
    """
    return _lax_conv(jax.lax.optimization_barrier(x), kernel)


def _lax_conv(x: Array, kernel: Array) -> Array:
    numbers = ("NWC", "WIO", "NWC")
    return jax.lax.conv_general_dilated(
        x, kernel, (1,), "VALID", dimension_numbers=numbers
    )


def _forward(x: Array, kernel: Array) -> tuple[Array, tuple[Array, Array]]:
    return unpadded_conv(x, kernel), (x, kernel)


def _backward(saved: tuple[Array, Array], grad: Array) -> tuple[Array, Array]:
    x, kernel = saved
    around = kernel.shape[0] - 1
    padded = jnp.pad(grad, ((0, 0), (around, around), (0, 0)))
    turned = jax.lax.optimization_barrier(kernel[::-1].swapaxes(1, 2))
    _, to_kernel = jax.vjp(lambda kernel: _lax_conv(x, kernel), kernel)
    return unpadded_conv(padded, turned), *to_kernel(grad)


unpadded_conv.defvjp(_forward, _backward)


def _step_norms(kernel: Float[Array, "K d D"]) -> Float[Array, "K 1 1"]:
    """The length of the kernel at each of its steps."""
    return jnp.sqrt(jnp.square(kernel).sum(axis=(1, 2), keepdims=True))
