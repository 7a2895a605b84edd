"""Posteriors, attention maps and saliency of segments, from every run of a workdir."""

from collections.abc import Mapping
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx, struct
from jaxtyping import Array, Float

from ser_jax.features.recipe import Recipe
from ser_jax.features.spec import FeatureSpec
from ser_jax.layers.attention_grid import AttentionMaps
from ser_jax.predict import forward
from ser_jax.predict.trained_model import TrainedModel

PREDICTED = -1  # as a target: the most probable class of each segment


@struct.dataclass
class SegmentBatch:
    """Segments of one or more utterances, filled up to a fixed batch size."""

    frames: np.ndarray  # float32 [B, T, F, C], before normalisation
    num_frames: np.ndarray  # int [B], real frames; the rest is padding
    start_frame: np.ndarray  # int [B], of the segment in its utterance
    utterance: np.ndarray  # int [B], index of the utterance
    count: int  # of segments; later rows only fill the batch
    # `words`, `word_mask`, `speaker_embedding`, if the model reads them
    side_inputs: dict[str, np.ndarray]


class Explanation(NamedTuple):
    """Outputs of one run for a batch of segments."""

    posteriors: np.ndarray  # [B, K]
    maps: AttentionMaps  # by name; {} if the model does not attend
    saliency: dict[str, np.ndarray]  # see `saliency`
    features: np.ndarray  # normalised, [B, T, F]; see `static`


class Explainer:
    """Evaluates segments with the runs of a workdir; all runs share one compilation."""

    def __init__(self, trained: TrainedModel):
        """Copies the weights to the device."""
        self.trained = trained
        runs = range(len(trained.runs))
        self._runs = [jax.device_put(trained.run_weights(r)) for r in runs]
        self._posteriors = jax.jit(self._compute_posteriors)
        self._explanation = jax.jit(self._compute_explanation)

    def posteriors(
        self, r: int, batch: SegmentBatch, hidden: Mapping | None = None
    ) -> np.ndarray:
        """Posteriors [B, K] of run number r.

        `hidden` is true where the normalised input is replaced by its mean, 0: `frames`
        [B, T, F] or `words` [B, L].
        """
        return np.asarray(self._posteriors(self._runs[r], batch, hidden or {}))

    def explain(
        self, r: int, batch: SegmentBatch, target: int = PREDICTED
    ) -> Explanation:
        """Explains run number r; `target` is the class whose logit is differentiated."""
        # The target is traced, so that another class needs no second compilation.
        target = np.int32(target)
        return jax.device_get(self._explanation(self._runs[r], batch, target))

    def _model_and_inputs(self, run, batch: SegmentBatch):
        (weights, mean, std), data = run, self.trained.config.data
        inputs = forward.model_inputs(batch.frames, batch.num_frames, mean, std, data)
        return self.trained.merge(weights), inputs | batch.side_inputs

    def _compute_posteriors(self, run, batch, hidden):
        model, inputs = self._model_and_inputs(run, batch)
        for name, cells in hidden.items():
            inputs[name] = jnp.where(cells[..., None], 0.0, inputs[name])
        return forward.posteriors(model, inputs)

    def _compute_explanation(self, run, batch, target):
        model, inputs = self._model_and_inputs(run, batch)
        logits, maps = logits_and_maps(model, inputs)
        target = jnp.where(target < 0, jnp.argmax(logits, axis=1), target)
        slopes = saliency(model, inputs, target)
        posteriors = forward.probabilities(logits)
        features = static(inputs["frames"], self.trained.spec)
        return Explanation(posteriors, maps, slopes, features)


def static(frames, spec: Recipe):
    """One value per cell of frames [..., F, C], NumPy's or JAX's, for a picture.

    The static value, or of hidden states and samples, the root mean square.
    """
    if not isinstance(spec, FeatureSpec):
        return ((frames * frames).mean(axis=-1)) ** 0.5
    return frames[..., 0]


def logits_and_maps(
    model: nnx.Module, inputs: Mapping[str, Array]
) -> tuple[Float[Array, "B K"], AttentionMaps]:
    """Logits of a batch and the attention maps behind them; can be jitted.

    The model must be in evaluation mode.

    Returns:
      The logits; the maps by name, whose masses sum to 1 per example over all maps (to
      0 without a valid frame or word). {} if the model does not attend.
    """
    capture = nnx.capture(nnx.Intermediate)(lambda model, inputs: model(inputs))
    # Layers sow their maps on request only: streaming attention never holds them.
    model.set_attributes(sow_maps=True, raise_if_not_found=False)
    logits, state = capture(model, inputs)
    model.set_attributes(sow_maps=False, raise_if_not_found=False)
    return logits, model.attention_maps(state, inputs)


def saliency(
    model: nnx.Module, inputs: Mapping[str, Array], target: Array
) -> dict[str, Array]:
    """|d logit of the target class / d input|, summed over the last axis.

    The model must be in evaluation mode; `target` is int [B], a class per example.

    Returns:
      `frames` [B, T, F], and `words` [B, L] if the model reads words.
    """
    differentiated = {k: inputs[k] for k in ("frames", "words") if k in inputs}

    def sum_of_logits(differentiated):
        # Examples do not interact in evaluation, so one gradient serves the batch.
        logits = model({**inputs, **differentiated})
        return jnp.take_along_axis(logits, target[:, None], axis=1).sum()

    slopes = jax.grad(sum_of_logits)(differentiated)
    return {name: jnp.abs(slope).sum(axis=-1) for name, slope in slopes.items()}
