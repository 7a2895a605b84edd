"""MSCNN-SPU and MSCNN-SPU-ATT: multi-scale convolutions of audio and words.

Peng, Lu, Pan, Liu: Efficient Speech Emotion Recognition Using Multi-Scale CNN and
Attention, ICASSP 2021, pp. 3020-3024 (arXiv 2106.04133).
"""

import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Bool, Float

from ser_jax.layers import attention_grid
from ser_jax.layers.conv_gradients import conv_general_dilated
from ser_jax.layers.dense import scale_width
from ser_jax.layers.dropout import Dropout
from ser_jax.layers.options import check_mode
from ser_jax.layers.pooling import cross_attention, cross_weights, statistics
from ser_jax.models.model import FRAMES, AttentionMaps, Batch, DenseOutput, Embedding

MODALITIES = ("audio", "text", "both")
ATTENTIONS = ("none", "all_pairs", "matched")
STATISTICS = ("max", "mean", "std")
FILTERS, HIDDEN = 128, 256


class MultiScaleConv(nnx.Module):
    """Parallel convolutions over a sequence, one per kernel size, each with ReLU.

        y_s[l] = ReLU(sum_m K_s[m] . x[l + m] + b_s)

    A kernel covers all features of s steps and stays inside the sequence: a sequence
    of n valid steps has n - s + 1 positions. A shorter one has one, with zeros behind
    its end.
    """

    def __init__(self, features_in: int, features: int, kernels, **common):
        """Makes D = `features` filters for each of `kernels`: steps that one covers.

        `common` goes to every `nnx.Conv`: dtype and rngs.

        Raises:
            ValueError: for no kernel or one without extent.
        """
        self.kernels = tuple(kernels)
        if min(self.kernels, default=0) < 1:
            raise ValueError(
                f"audio_kernels, text_kernels: expected sizes of at least 1, got "
                f"{self.kernels}"
            )
        self.convs = nnx.List([])
        for size in self.kernels:
            conv = nnx.Conv(
                features_in,
                features,
                (size,),
                padding="VALID",
                conv_general_dilated=conv_general_dilated,
                **common,
            )
            self.convs.append(conv)

    def __call__(
        self, x: Float[Array, "B L C"], mask: Bool[Array, "B L"]
    ) -> list[tuple[Float[Array, "B _ D"], Bool[Array, "B _"]]]:
        """Returns per kernel size the map and its valid positions."""
        x = jnp.where(mask[..., None], x, 0)
        maps = []
        for size, conv in zip(self.kernels, self.convs, strict=True):
            missing = max(0, size - x.shape[1])
            padded = jnp.pad(x, ((0, 0), (0, missing), (0, 0)))
            last = jnp.pad(mask, ((0, 0), (0, missing)))[:, size - 1 :]
            # A position is valid if its last step is, the first one if any step is.
            maps.append((nnx.relu(conv(padded)), last.at[:, 0].set(mask[:, 0])))
        return maps


class MscnnSpu(DenseOutput, nnx.Module):
    """Two multi-scale branches, their statistics, attention from audio to words.

    Every map is pooled to its maximum, mean and deviation (SPU), 4 x 3 x 128 numbers
    per branch. The words' own maximum and mean (SWEM) are appended, and a speaker
    embedding if `input_shapes` has one. With attention, an audio statistic e reads a
    map of the text branch: S = sum_k softmax_k(e . h_k) h_k. One hidden layer follows.

    The paper does not say which audio kernel reads which text kernel: `all_pairs`
    takes all 4 x 4 (48 vectors), `matched` the i-th with the i-th (12). `none` is
    MSCNN-SPU. Stride, padding, the hidden layer (256, as a public re-implementation
    has) and the place of dropout (before and behind it) are choices too.

    Differs from the paper: padded frames and words count nowhere.

    With `sow_maps` a call sows `weights`, one [B, Q, P] per text kernel: of the Q audio
    statistics that are its queries, at its P positions.
    """

    INPUTS = (*FRAMES, "words", "word_mask", "speaker_embedding")

    def __init__(self, config, *, input_shapes, num_classes, rngs: nnx.Rngs):
        _check(config, input_shapes)
        self.dtype = jnp.dtype(config.dtype)
        common = {"dtype": self.dtype, "rngs": rngs}
        features, hidden = (scale_width(c, config.width) for c in (FILTERS, HIDDEN))
        unit = len(STATISTICS) * features  # what a statistics pooling unit returns
        self.audio, self.text = nnx.data(None), nnx.data(None)
        size = 0  # of all that the hidden layer reads
        if config.modality != "text":
            values = input_shapes["frames"][1] * input_shapes["frames"][2]
            kernels = config.audio_kernels
            self.audio = MultiScaleConv(values, features, kernels, **common)
            size += unit * len(kernels)
            size += input_shapes.get("speaker_embedding", (0,))[0]
        if config.modality != "audio":
            values, kernels = input_shapes["words"][1], config.text_kernels
            self.text = MultiScaleConv(values, features, kernels, **common)
            size += unit * len(kernels)
            size += 2 * values if config.swem else 0
        self.attention = config.attention if config.modality == "both" else "none"
        if self.attention != "none":
            pairs = len(config.text_kernels)
            pairs *= len(config.audio_kernels) if self.attention == "all_pairs" else 1
            size += unit * pairs
        self.swem, self.sow_maps = config.swem, False
        self.reads_speaker = "speaker_embedding" in input_shapes
        self.hidden = nnx.Linear(size, hidden, **common)
        self.dropout = Dropout(config.dropout)
        self.dense = nnx.Linear(hidden, num_classes, rngs=rngs)

    def embed(self, batch: Batch, *, rngs: nnx.Rngs | None = None) -> Embedding:
        """The hidden layer."""
        parts, queries, text_maps = [], [], []
        if self.audio is not None:
            frames = batch["frames"].astype(self.dtype)
            frames = frames.reshape(*frames.shape[:2], -1)
            maps = self.audio(frames, batch["frame_mask"])
            queries = [_statistics(x, mask) for x, mask in maps]
            parts += queries
            if self.reads_speaker:
                parts.append(batch["speaker_embedding"].astype(self.dtype))
        if self.text is not None:
            words, mask = batch["words"].astype(self.dtype), batch["word_mask"]
            text_maps = self.text(words, mask)
            parts += [_statistics(*text_map) for text_map in text_maps]
            if self.swem:  # the words themselves, "simple word-embedding model"
                parts.append(_statistics(words, mask)[:, :2])  # max and mean
        parts += self._attend(queries, text_maps)
        x = jnp.concatenate([part.reshape(part.shape[0], -1) for part in parts], axis=1)
        x = nnx.relu(self.hidden(self.dropout(x, rngs=rngs)))
        return self.dropout(x.astype(jnp.float32), rngs=rngs)

    def _attend(self, queries: list[Array], text_maps: list[tuple]) -> list[Array]:
        """The text maps read by the audio statistics [B, 3, D]."""
        if self.attention == "none":
            return []
        if self.attention == "all_pairs":
            queries = [jnp.concatenate(queries, axis=1)] * len(text_maps)
        pairs = list(zip(queries, text_maps, strict=True))
        if self.sow_maps:
            for query, text_map in pairs:
                self.sow(nnx.Intermediate, "weights", cross_weights(query, *text_map))
        return [cross_attention(query, *text_map) for query, text_map in pairs]

    def attention_maps(self, state: nnx.State, batch: Batch) -> AttentionMaps:
        """Over words, one map per text kernel: `2 words` ...; none without attention."""
        if self.attention == "none":
            return {}
        maps = {}
        all_weights = attention_grid.read_sown(state, "weights")
        for size, weights in zip(self.text.kernels, all_weights, strict=True):
            mass = weights.mean(axis=1) / len(all_weights)  # over the queries
            # A position's weight is shared evenly among the words it covers.
            mass = attention_grid.spread(mass, batch["word_mask"], size, 1)[:, None]
            columns = tuple(range(mass.shape[2] + 1))
            over_words = attention_grid.AttentionMap(mass, (0, 1), columns, "words")
            maps[f"{size} words"] = over_words
        return maps


def _statistics(x: Array, mask: Array) -> Float[Array, "B 3 D"]:
    by_name = statistics(x, mask)
    return jnp.stack([by_name[name] for name in STATISTICS], axis=1)


def _check(config, input_shapes) -> None:
    check_mode("modality", config.modality, MODALITIES)
    check_mode("attention", config.attention, ATTENTIONS)
    if config.modality != "audio" and "words" not in input_shapes:
        raise ValueError(
            f"modality={config.modality!r}: expected words, got a batch with "
            f"{', '.join(input_shapes)} only; set data.text=transcript (or asr), or "
            "model.modality=audio"
        )
    if config.modality == "audio" and "words" in input_shapes:
        raise ValueError(
            "modality='audio': expected a batch without words; set data.text=none, or the "
            "report would say that the model reads"
        )
    if config.modality == "text" and "speaker_embedding" in input_shapes:
        raise ValueError(
            "speaker_embedding: expected modality 'audio' or 'both', whose audio "
            "branch takes it, got 'text'; unset data.speaker_embeddings"
        )
    kernels = len(config.audio_kernels), len(config.text_kernels)
    matched = config.modality == "both" and config.attention == "matched"
    if matched and kernels[0] != kernels[1]:
        raise ValueError(
            "attention='matched': expected as many audio_kernels as text_kernels, got "
            f"{kernels[0]} and {kernels[1]}"
        )
