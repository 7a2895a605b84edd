"""Segments → normalise → model → softmax → vote: the only place of the forward pass.

Training's validation and test, `predict`, `explain` and `export` all call it, so they
cannot disagree. The rules by which recordings are cut are in `features.segments`, those
by which segments vote in `scoring.voting`.
"""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Bool, Float, Int, Real

from ser_jax.scoring import voting

Statistic = Float[Array, "F C"] | Float[np.ndarray, "F C"] | Float[Array, "B 1 F C"]

NOTHING = nnx.State({})  # of a pretrained encoder, which few models hold
EPSILON = 1e-5  # keeps a constant band finite


def zscore(frames, mean, std):
    """(frames - mean) / (std + 1e-5) for [..., T, F, C]; NumPy or JAX arrays."""
    return (frames - mean) / (std + EPSILON)


# By `data.normalize`. `none` stores mean 0 and std 1. In training `corpus` and `speaker`
# take those of the recording's own; a new recording has the training part's.
NORMALIZERS = dict.fromkeys(("none", "fold", "corpus", "speaker"), zscore)


def model_inputs(
    frames: Real[Array, "B T F C"],
    num_frames: Int[Array, " B"],
    mean: Statistic,
    std: Statistic,
    data,
) -> dict[str, jax.Array]:
    """Normalises and pads segments: the `frames` and `frame_mask` that a model reads.

    Args:
      frames: Segments; behind a recording's end they may hold anything.
      num_frames: Real frames of each.
      mean: Of the run's training part, or each segment's own.
      std: Likewise.
      data: `config.data`; `normalize` and `pad` are read. `pad` is `after_norm` (zeros
        after normalising, masked) or `before_norm` (zeros are normalised too and count
        as speech, as in the ACRNN's code).
    """
    normalize = NORMALIZERS[data.normalize]
    mask = jnp.arange(frames.shape[1]) < num_frames[:, None]
    real = mask[:, :, None, None]
    # By `where`: what is behind the end may be NaN, which a product with 0 keeps.
    if data.pad == "before_norm":
        frames = normalize(jnp.where(real, frames, 0.0), mean, std)
        return {"frames": frames, "frame_mask": jnp.ones_like(mask)}
    frames = jnp.where(real, normalize(frames, mean, std), 0.0)
    return {"frames": frames, "frame_mask": mask}


def merge(graphdef: nnx.GraphDef, params, stats, pretrained=NOTHING) -> nnx.Module:
    """A model in evaluation mode; also inside jit."""
    # Copied: the variables are the caller's, perhaps those of an outer trace.
    model = nnx.merge(graphdef, params, pretrained, stats, copy=True)
    model.eval()
    return model


def posteriors(model: nnx.Module, batch: Mapping[str, Any]) -> Float[Array, "B K"]:
    """Class probabilities of segments."""
    return probabilities(model(batch))


def probabilities(logits: Float[Array, "B K"]) -> Float[Array, "B K"]:
    """Softmax in float32, whatever the model computes in."""
    return jax.nn.softmax(logits.astype(jnp.float32))


def accumulate_votes(
    rule: str, votes, posteriors: Float[Array, "S K"], real: Bool[Array, " S"]
) -> Float[Array, " K"]:
    """`votes` of one recording (0 at first) with those of more segments.

    `rule` is a key of `voting.RULES`; 0 takes the place of segments that are not `real`.
    """
    # The table names one function for NumPy and JAX: exports vote as the evaluation.
    ufunc = getattr(jnp, voting.RULES[rule].ufunc)
    return ufunc(votes, ufunc.reduce(jnp.where(real[:, None], posteriors, 0.0), axis=0))


def finish_votes(rule: str, votes: Float[Array, " K"], count) -> Float[Array, " K"]:
    """The posterior of a recording from the votes of its `count` segments."""
    return votes / voting.RULES[rule].total(votes, count)
