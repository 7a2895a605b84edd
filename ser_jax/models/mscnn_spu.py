"""MSCNN-SPU and MSCNN-SPU-ATT: multi-scale convolutions of audio and words.

Peng, Lu, Pan, Liu: Efficient Speech Emotion Recognition Using Multi-Scale CNN and
Attention, ICASSP 2021, pp. 3020-3024 (arXiv 2106.04133).
"""

from collections.abc import Mapping

import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Bool, Float

from ser_jax.layers import attention_grid
from ser_jax.layers.dense import check_mode, scale_width
from ser_jax.layers.pooling import cross_attention, cross_weights, statistics

MODALITIES = ("audio", "text", "both")
ATTENTIONS = ("none", "all_pairs", "matched")
STATISTICS = ("max", "mean", "std")
FILTERS, HIDDEN = 128, 256


class MultiScaleConv(nnx.Module):
    """Parallel convolutions over a sequence, one per kernel size, each with ReLU.

        y_s[l] = ReLU(sum_m K_s[m] . x[l + m] + b_s)

    A kernel covers all features of s steps and stays inside the sequence: a sequence
    of n valid steps has n - s + 1 positions. A shorter one has one, with zeros behind
    its end. The paper says nothing about stride and padding.
    """

    def __init__(
        self,
        features_in: int,
        features: int,
        kernels: tuple[int, ...],
        *,
        dtype=jnp.float32,
        rngs: nnx.Rngs,
    ):
        """Makes the convolutions (with bias).

        Args:
            features_in: C, features of a step.
            features: D, filters per kernel size.
            kernels: steps that a kernel covers, each at least 1.
            dtype: of the computation; parameters are float32.
            rngs: stream `params`.

        Raises:
            ValueError: for no kernel or one without extent.
        """
        if not kernels or min(kernels) < 1:
            raise ValueError(
                f"audio_kernels, text_kernels: expected sizes of at least 1, got "
                f"{tuple(kernels)}"
            )
        self.kernels = tuple(kernels)
        self.convs = nnx.List(
            [
                nnx.Conv(
                    features_in,
                    features,
                    (size,),
                    padding="VALID",
                    dtype=dtype,
                    rngs=rngs,
                )
                for size in kernels
            ]
        )

    def __call__(
        self, x: Float[Array, "B L C"], mask: Bool[Array, "B L"]
    ) -> list[tuple[Float[Array, "B _ D"], Bool[Array, "B _"]]]:
        """Returns per kernel size the map and its valid positions.

        Args:
            x: the sequence, valid steps first; the padding may hold anything.
            mask: True where a step is valid.
        """
        x = jnp.where(mask[..., None], x, 0)
        maps = []
        for size, conv in zip(self.kernels, self.convs, strict=True):
            missing = max(0, size - x.shape[1])
            padded = jnp.pad(x, ((0, 0), (0, missing), (0, 0)))
            last = jnp.pad(mask, ((0, 0), (0, missing)))[:, size - 1 :]
            # A position is valid if its last step is, the first one if any step is.
            maps.append((nnx.relu(conv(padded)), last.at[:, 0].set(mask[:, 0])))
        return maps


class MscnnSpu(nnx.Module):
    """Two multi-scale branches, their statistics, attention from audio to words.

    Every map is pooled to its maximum, mean and deviation (SPU), 4 x 3 x 128 numbers
    per branch. The words' own maximum and mean (SWEM) are appended, and a speaker
    embedding if `input_shapes` has one. With attention, an audio statistic e reads a
    map of the text branch: S = sum_k softmax_k(e . h_k) h_k. One hidden layer follows.

    The paper does not say which audio kernel reads which text kernel: `all_pairs`
    takes all 4 x 4 (48 vectors), `matched` the i-th with the i-th (12). `none` is
    MSCNN-SPU. With one modality there is nothing to attend to. Stride, padding, the
    hidden layer (256, as a public re-implementation has) and the place of dropout
    (before and behind it) are choices too.

    Differs from the paper: padded frames and words count in no maximum, mean,
    deviation or softmax, and windows may have any number of frames.

    `sow_maps` is False; set it (`model.set_attributes(sow_maps=True)`) and call under
    `nnx.capture(nnx.Intermediate)` to receive `weights`, one [B, Q, P] per text kernel:
    of the Q audio statistics that ask at its P positions.
    """

    INPUTS = ("frames", "frame_mask", "words", "word_mask", "speaker_embedding")

    def __init__(
        self,
        config,
        *,
        input_shapes: Mapping[str, tuple[int, ...]],
        num_classes: int,
        rngs: nnx.Rngs,
    ):
        """Builds the branches that the modality has.

        Args:
            config: the `model` group; keys in configs/mscnn_spu.py.
            input_shapes: `frames`: T, F, C; `words`: L, E, needed unless
                `modality="audio"`; `speaker_embedding`: X, if there is one.
            num_classes: K.
            rngs: stream `params`.

        Raises:
            ValueError: for an unknown mode, words that are missing, a speaker embedding
                without the audio branch, or kernels that cannot be matched.
        """
        _check(config, input_shapes)
        dtype = jnp.dtype(config.dtype)
        common = {"dtype": dtype, "rngs": rngs}
        features = scale_width(FILTERS, config.width)
        hidden = scale_width(HIDDEN, config.width)
        self.audio, self.text = nnx.data(None), nnx.data(None)
        size = 0
        if config.modality != "text":
            values = input_shapes["frames"][1] * input_shapes["frames"][2]
            kernels = tuple(config.audio_kernels)
            self.audio = MultiScaleConv(values, features, kernels, **common)
            size += len(STATISTICS) * features * len(kernels)
            size += input_shapes.get("speaker_embedding", (0,))[0]
        if config.modality != "audio":
            values, kernels = input_shapes["words"][1], tuple(config.text_kernels)
            self.text = MultiScaleConv(values, features, kernels, **common)
            size += len(STATISTICS) * features * len(kernels)
            size += 2 * values if config.swem else 0
        self.attention = config.attention if config.modality == "both" else "none"
        if self.attention != "none":
            pairs = len(config.text_kernels)
            pairs *= len(config.audio_kernels) if self.attention == "all_pairs" else 1
            size += len(STATISTICS) * features * pairs
        self.swem, self.sow_maps = config.swem, False
        self.reads_speaker = "speaker_embedding" in input_shapes
        self.hidden = nnx.Linear(size, hidden, **common)
        self.dropout = nnx.Dropout(config.dropout)
        self.dense = nnx.Linear(hidden, num_classes, rngs=rngs)
        self.dtype = dtype

    def embed(
        self, batch: Mapping[str, Array], *, rngs: nnx.Rngs | None = None
    ) -> Float[Array, "B D"]:
        """The hidden layer, which the output layer reads; float32.

        Args:
            batch: `frames` float32 [B, T, F, C], `frame_mask` bool [B, T]; `words`
                float32 [B, L, E], `word_mask` bool [B, L]; `speaker_embedding` float32
                [B, X]. What the modality does not read may be missing.
            rngs: stream `dropout`, needed in training with dropout.
        """
        parts, heard, read = [], [], []
        if self.audio is not None:
            frames = batch["frames"].astype(self.dtype)
            frames = frames.reshape(*frames.shape[:2], -1)
            maps = self.audio(frames, batch["frame_mask"])
            heard = [_statistics(x, mask) for x, mask in maps]
            parts += heard
            if self.reads_speaker:
                parts.append(batch["speaker_embedding"].astype(self.dtype))
        if self.text is not None:
            words, mask = batch["words"].astype(self.dtype), batch["word_mask"]
            read = self.text(words, mask)
            parts += [_statistics(*found) for found in read]
            if self.swem:
                parts.append(_statistics(words, mask)[:, :2])  # max and mean
        parts += self._attend(heard, read)
        x = jnp.concatenate([part.reshape(part.shape[0], -1) for part in parts], axis=1)
        x = nnx.relu(self.hidden(self.dropout(x, rngs=rngs)))
        return self.dropout(x.astype(jnp.float32), rngs=rngs)

    def _attend(self, heard: list[Array], read: list[tuple]) -> list[Array]:
        """What the audio statistics [B, 3, D] find in the text maps."""
        if self.attention == "none":
            return []
        if self.attention == "all_pairs":
            heard = [jnp.concatenate(heard, axis=1)] * len(read)
        pairs = list(zip(heard, read, strict=True))
        if self.sow_maps:
            for query, found in pairs:
                self.sow(nnx.Intermediate, "weights", cross_weights(query, *found))
        return [cross_attention(query, *found) for query, found in pairs]

    def attention_maps(
        self, state: Mapping, batch: Mapping[str, Array]
    ) -> attention_grid.AttentionMaps:
        """What was attended to: words, one map per text kernel, `2 words` ...

        The weights of a kernel's positions are the mean over the audio statistics that
        ask; a position's weight is shared evenly among the words it covers. None
        without attention.

        Args:
            state: what `nnx.capture(nnx.Intermediate)` received with `sow_maps` set.
            batch: the inputs it was received from.
        """
        if self.attention == "none":
            return {}
        maps, mask = {}, batch["word_mask"]
        found = attention_grid.read_sown(state, "weights")
        for size, weights in zip(self.text.kernels, found, strict=True):
            mass = weights.mean(axis=1) / len(found)
            mass = attention_grid.spread(mass, mask, size, 1)[:, None]
            columns = tuple(range(mass.shape[2] + 1))
            maps[f"{size} words"] = attention_grid.AttentionMap(
                mass, (0, 1), columns, over="words"
            )
        return maps

    def classify(self, embedding: Float[Array, "B D"]) -> Float[Array, "B K"]:
        """Class logits, float32."""
        return self.dense(embedding)

    def __call__(
        self, batch: Mapping[str, Array], *, rngs: nnx.Rngs | None = None
    ) -> Float[Array, "B K"]:
        """Class logits of a batch (see `embed`)."""
        return self.classify(self.embed(batch, rngs=rngs))


def _statistics(x: Array, mask: Array) -> Array:
    """Maximum, mean and deviation as rows: [B, 3, D]."""
    found = statistics(x, mask)
    return jnp.stack([found[name] for name in STATISTICS], axis=1)


def _check(config, input_shapes: Mapping[str, tuple[int, ...]]) -> None:
    """Refuses what does not fit together."""
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
            "modality='audio': expected no words, got them; set data.text=none, or the "
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
