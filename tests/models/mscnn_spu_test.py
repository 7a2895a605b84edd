"""MSCNN-SPU: its sizes, its equations written out again, words that come and go."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from configs import mscnn_spu
from ser_jax.models.mscnn_spu import MultiScaleConv
from tests.models import common
from tests.models.common import answer, count

SHAPES = {"frames": (19, 5, 3), "words": (8, 6)}  # T, F, C and L, E
SPEAKER = {"speaker_embedding": (2,)}
FRAMES, WORDS = (19, 12, 6), (8, 4, 1)  # valid ones of three examples
MODALITIES = ("audio", "text", "both")


def build(shapes=SHAPES, **changes):
    if changes.get("modality") == "audio":  # refuses words
        shapes = {name: shape for name, shape in shapes.items() if name != "words"}
    return common.build("mscnn_spu", shapes, **{"width": 0.04} | changes)


def make_batch(frames=FRAMES, words=WORDS, shapes=SHAPES, seed=0):
    rng = np.random.default_rng(seed)
    batch = {"frame_mask": np.arange(shapes["frames"][0]) < np.array(frames)[:, None]}
    batch["word_mask"] = np.arange(shapes["words"][0]) < np.array(words)[:, None]
    for name, shape in shapes.items():
        batch[name] = rng.normal(size=(len(frames), *shape)).astype(np.float32)
    batch["frames"] *= batch["frame_mask"][:, :, None, None]
    batch["words"] *= batch["word_mask"][:, :, None]
    return {name: jnp.asarray(x) for name, x in batch.items()}


# 128 (96 * 32) + 512 and 128 (300 * 14) + 512; 128 (50 * 14) + 512.
AUDIO, TEXT = 393_728, {300: 538_112, 50: 90_112}
SPU = 4 * 3 * 128


@pytest.mark.parametrize(
    ("words", "changes", "branches", "fused"),
    [
        (300, {}, "AT", 2 * SPU + 600 + 48 * 128),
        (50, {}, "AT", 2 * SPU + 100 + 48 * 128),
        (300, {"attention": "matched"}, "AT", 2 * SPU + 600 + 12 * 128),
        (300, {"attention": "none"}, "AT", 2 * SPU + 600),
        (300, {"swem": False}, "AT", 2 * SPU + 48 * 128),
        (300, {"modality": "audio"}, "A", SPU),
        (300, {"modality": "text"}, "T", SPU + 600),
    ],
)
def test_full_size_has_the_parameters_counted_by_hand(words, changes, branches, fused):
    shapes = {"frames": (750, 32, 3), "words": (128, words)}
    if changes.get("modality") == "audio":
        del shapes["words"]
    model = common.abstract("mscnn_spu", shapes, 4, **changes)
    sizes = {"A": AUDIO, "T": TEXT[words]}
    for name, branch in (("A", model.audio), ("T", model.text)):
        assert (branch is not None) == (name in branches)
        assert branch is None or count(branch) == sizes[name]
    convolutions = sum(sizes[name] for name in branches)
    total = convolutions + (fused + 1) * 256 + (256 + 1) * 4
    assert count(model) == total
    golden = {300: 3_446_020, 50: 2_870_020}[words]
    assert changes or total == golden


def maps(branch, x):
    """The maps of one sequence without padding, position by position."""
    for conv in branch.convs:
        kernel, bias = np.asarray(conv.kernel), np.asarray(conv.bias)
        size = len(kernel)
        long = np.concatenate([x, np.zeros((max(0, size - len(x)), x.shape[1]))])
        rows = [
            sum(long[start + m] @ kernel[m] for m in range(size)) + bias
            for start in range(len(long) - size + 1)
        ]
        yield np.maximum(np.array(rows), 0)


def statistics(x):
    return [x.max(axis=0), x.mean(axis=0), np.sqrt(x.var(axis=0) + 1e-8)]


def attend(query, rows):
    scores = np.exp(rows @ query)
    return (scores / scores.sum()) @ rows


def write_out(model, frames, words, speaker, attention):
    """Logits of one example, from the paper's equations."""
    heard = [statistics(x) for x in maps(model.audio, frames)]
    read = list(maps(model.text, words))
    parts = [v for x in heard for v in x] + [speaker]
    parts += [v for x in read for v in statistics(x)]
    parts += [words.max(axis=0), words.mean(axis=0)]
    for j, rows in enumerate(read):
        chosen = {"all_pairs": heard, "matched": [heard[j]], "none": []}[attention]
        parts += [attend(e, rows) for queries in chosen for e in queries]
    x = np.concatenate(parts)
    for layer in (model.hidden, model.dense):
        x = x @ np.asarray(layer.kernel) + np.asarray(layer.bias)
        x = np.maximum(x, 0) if layer is model.hidden else x
    return x


@pytest.mark.parametrize("attention", ["all_pairs", "matched", "none"])
def test_the_model_is_the_equations(attention):
    shapes = {**SHAPES, **SPEAKER}
    model = build(shapes, attention=attention)
    inputs = make_batch(shapes=shapes)
    expected = [
        write_out(
            model,
            np.asarray(inputs["frames"])[i, :frames].reshape(frames, -1),
            np.asarray(inputs["words"])[i, :words],
            np.asarray(inputs["speaker_embedding"])[i],
            attention,
        )
        for i, (frames, words) in enumerate(zip(FRAMES, WORDS, strict=True))
    ]
    # float32 against float64 over some hundred terms.
    np.testing.assert_allclose(answer(model, inputs), expected, rtol=1e-4, atol=1e-5)


def test_kernels_stay_inside_and_short_sequences_have_one_position():
    conv = MultiScaleConv(3, 2, (2, 5), rngs=nnx.Rngs(0))
    mask = jnp.arange(4) < jnp.array([4, 3, 1, 0])[:, None]
    (_, two), (five, once) = conv(jnp.ones((4, 4, 3)), mask)
    np.testing.assert_array_equal(two.sum(axis=1), [3, 2, 1, 0])
    np.testing.assert_array_equal(once, np.array([[1], [1], [1], [0]], bool))
    assert five.shape == (4, 1, 2)
    with pytest.raises(ValueError, match="sizes of at least 1"):
        MultiScaleConv(3, 2, (0, 5), rngs=nnx.Rngs(0))


def test_words_that_nobody_reads_are_refused():
    with pytest.raises(ValueError, match="set data.text=none"):
        common.abstract("mscnn_spu", SHAPES, preset="audio")


@pytest.mark.parametrize("modality", MODALITIES)
def test_only_the_branches_of_the_modality_are_read(modality):
    model, inputs = build(modality=modality), make_batch()
    before = answer(model, inputs)
    for branch, names in {
        "text": ("words", "word_mask"),
        "audio": ("frames", "frame_mask"),
    }.items():
        order = jnp.array([1, 2, 0])
        swapped = {n: x[order] if n in names else x for n, x in inputs.items()}
        changed = np.abs(answer(model, swapped) - before).max() > 1e-3
        assert changed == (modality in (branch, "both"))
        if modality not in (branch, "both"):
            left = {n: x for n, x in inputs.items() if n not in names}
            np.testing.assert_array_equal(answer(model, left), before)


def test_an_utterance_without_words_or_frames_is_finite():
    model, inputs = build(), make_batch(frames=(19, 0, 7), words=(0, 0, 3))
    model.train()
    graphdef, params = nnx.split(model)

    @common.fast_jit
    def step(params, key):
        def loss(params):
            logits = nnx.merge(graphdef, params)(inputs, rngs=nnx.Rngs(dropout=key))
            return -jax.nn.log_softmax(logits)[:, 0].mean()

        return jax.value_and_grad(loss)(params)

    results = jax.tree.leaves(step(params, jax.random.key(1)))
    assert all(np.all(np.isfinite(x)) for x in results)
    model.eval()
    silent = {**inputs, "words": inputs["words"] + 9.0}
    np.testing.assert_allclose(
        answer(model, silent)[:2], answer(model, inputs)[:2], rtol=1e-5, atol=1e-6
    )


def test_a_speaker_embedding_is_read_where_there_is_one():
    shapes = {**SHAPES, **SPEAKER}
    inputs = make_batch(shapes=shapes)
    other = {**inputs, "speaker_embedding": inputs["speaker_embedding"][::-1]}
    for modality in ("audio", "both"):
        model = build(shapes, modality=modality)
        assert np.abs(answer(model, inputs) - answer(model, other)).max() > 1e-3
    without = build()
    np.testing.assert_array_equal(answer(without, inputs), answer(without, other))


def test_dropout_needs_randomness_and_works_in_training_only():
    model, inputs = build(dropout=0.5), make_batch()
    model.train()
    with pytest.raises(ValueError, match="rngs"):
        nnx.eval_shape(lambda model: model(inputs), model)
    graphdef, state = nnx.split(model)

    @common.fast_jit
    def noisy(key):
        return nnx.merge(graphdef, state)(inputs, rngs=nnx.Rngs(dropout=key))

    first, second = map(noisy, jax.random.split(jax.random.key(0)))
    assert np.abs(first - second).max() > 1e-3
    model.eval()
    quiet = build(dropout=0.0)
    np.testing.assert_array_equal(answer(model, inputs), answer(quiet, inputs))


@pytest.mark.parametrize(
    ("shapes", "changes", "message"),
    [
        (SHAPES, {"modality": "video"}, "modality: expected one of"),
        (SHAPES, {"attention": "some"}, "attention: expected one of"),
        ({"frames": (19, 5, 3)}, {}, "expected words, .* set data.text=transcript"),
        ({**SHAPES, **SPEAKER}, {"modality": "text"}, "unset data.speaker_embeddings"),
        (
            SHAPES,
            {"attention": "matched", "text_kernels": (2, 3)},
            "as many audio_kernels as text_kernels, got 4 and 2",
        ),
        (SHAPES, {"audio_kernels": ()}, "sizes of at least 1"),
    ],
)
def test_impossible_configs_are_refused(shapes, changes, message):
    with pytest.raises(ValueError, match=message):
        build(shapes, **changes)


def test_presets_read_what_their_modality_needs():
    for preset in ("", *mscnn_spu.PRESETS):
        config = mscnn_spu.get_config(preset)
        reads = config.model.modality != "audio"
        assert reads == (config.data.text != "none")
        assert config.published.wa is None and config.published.ua is None
    assert mscnn_spu.get_config("asr").data.recognizer == "whisper-tiny.en"
    for preset in ("emodb", "emodb_small"):
        assert mscnn_spu.get_config(preset).model.modality == "audio"
    # Sessions share their scripts, which a model that reads must not have seen.
    assert mscnn_spu.get_config().protocol.split == "session5_script"
