"""Windows seen through the runs of a workdir: answers, attention and saliency."""

from collections.abc import Mapping
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float

from ser_jax.explain.attention import answer_and_maps
from ser_jax.layers.attention_grid import Maps
from ser_jax.predict import forward
from ser_jax.predict.trained_model import TrainedModel

OWN = -1  # as a target: the class that the run itself says


class Windows(NamedTuple):
    """A batch of windows.

    Attributes:
      frames: float32 [B, T, F, C], features as the recipe has them.
      num_frames: int32 [B], real ones; the rest is padding.
      others: What else the model reads: `words`, `word_mask`, `speaker_embedding`.
    """

    frames: np.ndarray
    num_frames: np.ndarray
    others: Mapping[str, np.ndarray]


class View(NamedTuple):
    """What one run makes of a batch of windows.

    Attributes:
      probabilities: [B, K].
      maps: Attention by name; {} if the model does not attend.
      saliency: |d logit / d normalised input| added up over channels (or over a word
        vector's features): `frames` [B, T, F], and `words` [B, L] where they are read.
      features: The normalised static features [B, T, F].
    """

    probabilities: np.ndarray
    maps: Maps
    saliency: dict[str, np.ndarray]
    features: np.ndarray


class Viewer:
    """Compiled once, looks through every run.

    Attributes:
      trained: The runs.
    """

    def __init__(self, trained: TrainedModel):
        """Puts the weights on the device."""
        self.trained = trained
        runs = range(len(trained.runs))
        self._runs = [jax.device_put(trained.run_weights(r)) for r in runs]
        self._answer, self._look = jax.jit(self._answer_of), jax.jit(self._look_of)

    def answer(
        self, r: int, windows: Windows, hidden: Mapping[str, np.ndarray] | None = None
    ) -> np.ndarray:
        """Posteriors [B, K] of run number r.

        Args:
          r: The run.
          windows: What it reads.
          hidden: True where the normalised input is set to its mean, 0: `frames`
            [B, T, F] or `words` [B, L].
        """
        return np.asarray(self._answer(self._runs[r], windows, dict(hidden or {})))

    def look(self, r: int, windows: Windows, target: int = OWN) -> View:
        """Answer, attention and saliency of run number r.

        Args:
          r: The run.
          windows: What it reads.
          target: The class whose logit the saliency is of.
        """
        found = self._look(self._runs[r], windows, np.int32(target))
        return jax.device_get(found)

    def _batch(self, run, windows: Windows) -> dict[str, Array]:
        """The model's inputs."""
        _, mean, std = run
        data = self.trained.config.data
        batch = forward.model_inputs(
            windows.frames, windows.num_frames, mean, std, data
        )
        return batch | dict(windows.others)

    def _answer_of(self, run, windows: Windows, hidden: dict) -> Float[Array, "B K"]:
        batch = self._batch(run, windows)
        for name, cells in hidden.items():
            batch[name] = jnp.where(cells[..., None], 0.0, batch[name])
        return forward.posteriors(self.trained.merge(run[0]), batch)

    def _look_of(self, run, windows: Windows, target) -> View:
        batch = self._batch(run, windows)
        model = self.trained.merge(run[0])
        logits, maps = answer_and_maps(model, batch)
        own = jnp.argmax(logits, axis=1)
        found = saliency(model, batch, jnp.where(target < 0, own, target))
        return View(jax.nn.softmax(logits), maps, found, batch["frames"][..., 0])


def saliency(
    model: nnx.Module, batch: Mapping[str, Array], target: Array
) -> dict[str, Array]:
    """|d logit of the target class / d input|, added up over the last axis.

    Args:
      model: In evaluation mode.
      batch: Its inputs.
      target: int [B], a class per example.

    Returns:
      `frames` [B, T, F], and `words` [B, L] if there are any.
    """
    inputs = {name: batch[name] for name in ("frames", "words") if name in batch}

    def logit(inputs):
        logits = model({**batch, **inputs})
        return jnp.take_along_axis(logits, target[:, None], axis=1).sum()

    slopes = jax.grad(logit)(inputs)
    return {name: jnp.abs(slope).sum(axis=-1) for name, slope in slopes.items()}
