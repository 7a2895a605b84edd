"""Cross-entropy with soft targets, squared error, and class weights from counts."""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int


def soft_targets(
    label: Int[Array, " B"], num_classes: int, smoothing: float
) -> Float[Array, "B K"]:
    """One-hot labels, of which `smoothing` in [0, 1) is spread over all classes."""
    one_hot = jax.nn.one_hot(label, num_classes, dtype=jnp.float32)
    return one_hot * (1.0 - smoothing) + smoothing / num_classes


def cross_entropy(
    logits: Float[Array, "B K"],
    targets: Float[Array, "B K"],
    class_weight: Float[Array, " K"],
) -> Float[Array, " B"]:
    """Cross-entropy per example, each class's share scaled by its weight."""
    return -jnp.sum(class_weight * targets * jax.nn.log_softmax(logits), axis=-1)


def squared_error(
    logits: Float[Array, "B K"], targets: Float[Array, "B K"]
) -> Float[Array, " B"]:
    """Squared error of the model's outputs as they are, averaged over the classes.

    Stands in for the center loss in public code of ADRNN (its outputs are logits) and
    ADSRNN (with `train_logits=probability` they are posteriors).
    """
    return jnp.mean(jnp.square(logits - targets), axis=-1)


def balanced_class_weights(labels: np.ndarray, num_classes: int) -> np.ndarray:
    """Weights n / (K n_k), float32 [K], from the labels of the training segments.

    Every class counts alike, the mean stays 1; every class must occur.
    """
    counts = np.bincount(labels, minlength=num_classes)
    return (len(labels) / (num_classes * counts)).astype(np.float32)
