"""Attention of every model, put back on the input: sums, padding, places."""

import functools
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from ser_jax.explain.explainer import logits_and_maps
from ser_jax.layers import attention_grid, strided
from ser_jax.layers.strided import POOL, Geometry
from ser_jax.models import MODELS
from tests.models.common import abstract_of, fast_jit, filled
from tests.models.entries import ENTRIES

VARIANTS = {
    **{name: (name, {}) for name in MODELS},
    "area_attn rows": ("area_attn", {"layout": "rows", "max_area": (1, 3)}),
    "area_attn flat": ("area_attn", {"layout": "flat", "max_area": (1, 3)}),
    "area_attn channel": ("area_attn", {"merge": "channel", "max_area": (2, 2)}),
    "area_attn seam": ("area_attn", {"pools": ((3, 1), True, False, False, False)}),
    "acrnn 4x2": ("acrnn", {"pool": (4, 2)}),
    "head_fusion positions": ("head_fusion", {"softmax": "positions"}),
    "head_fusion acnn": ("head_fusion", {"head": "acnn"}),
    "afcn squeezenet": ("afcn", {"trunk": "squeezenet"}),
    "asrnn apart": ("asrnn", {"window_size": 6, "window_step": 4}),
    "adsrnn cascade": ("adsrnn", {"combination": "cascade"}),
    "mscnn_spu matched": ("mscnn_spu", {"attention": "matched"}),
}


# One variant of each model that takes any length, and all ways to lay windows.
FREE_LENGTH = [name for name in MODELS if ENTRIES[name].free_length] + ["asrnn apart"]

# Loud blocks: (bands, frames), away from each other's rows and columns.
SHAPES = {"frames": (105, 36, 2)}
PLACES = (((3, 9), (63, 84)), ((22, 31), (14, 35)))
LARGE = {"frames": (420, 260, 1)}  # AFCN: a cell is 16 or 32 bands and frames
LARGE_PLACES = (((20, 90), (250, 370)), ((160, 240), (60, 150)))


def compiled(model):
    """`logits_and_maps` of a model, with its parameters and statistics as arguments."""
    graphdef, params, rest = nnx.split(model, nnx.Param, ...)

    @fast_jit
    def call(params, rest, batch):
        return logits_and_maps(nnx.merge(graphdef, params, rest, copy=True), batch)

    return call, params, rest


@functools.cache
def make_subject(variant):
    """A variant in small with random weights, compiled once: batches are of three."""
    name, changes = VARIANTS[variant]
    config, shapes = ENTRIES[name].config(), SHAPES
    config.update(changes)
    if name == "afcn":
        shapes = LARGE
        config.attention_scale = 3.0
    elif name == "mscnn_spu":
        shapes = ENTRIES[name].input_shapes
    model = filled(abstract_of(config, shapes))
    model.eval()
    call, params, rest = compiled(model)
    return SimpleNamespace(
        name=name,
        shapes=shapes,
        model=model,
        params=params,
        maps=lambda batch, params=params: call(params, rest, batch)[1],
        logits=lambda batch: call(params, rest, batch)[0],
    )


def batch_of(shapes, valid, words=(7, 4, 7), seed=0):
    """Noise in every input; the padding holds noise as well."""
    rng = np.random.default_rng(seed)
    batch = {
        name: rng.normal(size=(len(valid), *shape)).astype(np.float32)
        for name, shape in shapes.items()
    }
    batch["frame_mask"] = np.arange(shapes["frames"][0]) < np.array(valid)[:, None]
    if "words" in shapes:
        batch["word_mask"] = np.arange(shapes["words"][0]) < np.array(words)[:, None]
    return jax.tree.map(jnp.asarray, batch)


def total(maps):
    """The sum of all maps, [B, H, W], and their common grid."""
    first = next(iter(maps.values()))
    grid = (first.bands, first.columns, first.over)
    assert all((m.bands, m.columns, m.over) == grid for m in maps.values())
    return np.asarray(sum(m.mass for m in maps.values()), np.float64), first


@pytest.mark.parametrize("variant", VARIANTS)
def test_masses_add_up_to_one_and_padding_has_none(variant):
    subject = make_subject(variant)
    frames, bands, _ = subject.shapes["frames"]
    batch = batch_of(subject.shapes, (frames, frames // 2, 0), words=(7, 4, 0))
    maps = subject.maps(batch)
    mass, first = total(maps)
    # AFCN takes an example without frames for one of zeros, and attends to them.
    empty = subject.name == "afcn"
    # Softmax and up to 2000 additions in float32.
    np.testing.assert_allclose(mass.sum(axis=(1, 2)), [1, 1, empty], atol=2e-5)
    assert all(np.min(m.mass) >= 0 for m in maps.values())
    assert mass.shape[1:] == (len(first.bands) - 1, len(first.columns) - 1)
    assert (np.diff(first.columns) > 0).all() and (np.diff(first.bands) > 0).all()
    if first.over == "words":
        assert first.columns == tuple(range(8)) and not mass[1, :, 4:].any()
    else:
        assert first.bands[0] == 0 and first.bands[-1] == bands
        assert first.columns[0] == 0 and first.columns[-1] <= frames
        beyond = np.array(first.columns[:-1]) >= frames // 2
        assert beyond.any() and not mass[1][:, beyond].any()


@pytest.mark.parametrize("variant", ["area_attn", "mscnn_spu"])
def test_capturing_maps_changes_no_logits(variant):
    subject = make_subject(variant)
    batch = batch_of(subject.shapes, (17, 11, 9))
    graphdef, state = nnx.split(subject.model)
    plain = fast_jit(lambda state: nnx.merge(graphdef, state)(batch))(state)
    np.testing.assert_allclose(subject.logits(batch), plain, rtol=1e-6)


@pytest.mark.parametrize("variant", FREE_LENGTH)
def test_more_padding_changes_nothing(variant):
    subject = make_subject(variant)
    frames = subject.shapes["frames"][0]
    short = batch_of(subject.shapes, (frames, frames - 4, frames), words=(7, 4, 7))
    rng = np.random.default_rng(1)

    def longer(x):
        extra = rng.normal(size=(x.shape[0], 37, *x.shape[2:]))
        return jnp.concatenate([x, extra.astype(x.dtype) * (x.dtype != bool)], axis=1)

    names = {"frames", "frame_mask", "words", "word_mask"} & short.keys()
    long = {**short, **{name: longer(short[name]) for name in names}}
    mass, first = total(subject.maps(short))
    more, wide = total(subject.maps(long))
    columns = mass.shape[2]
    assert more.shape[2] > columns and wide.bands == first.bands
    assert wide.columns[:columns] == first.columns[:-1]
    # The last cell may have been cut by the end of the batch.
    np.testing.assert_allclose(more[:, :, :columns], mass, atol=1e-6)
    assert not more[:, :, columns:].any()


def averaging(params, gain=1.2):
    """Parameters by which every layer answers loud input with large numbers.

    Kernels average what they read; recurrent layers forget at once, so that what
    happens at a time stays there.
    """

    def value(path, x):
        path = "/".join(str(part.key) for part in path if hasattr(part, "key"))
        if "lstm" in path or "sliding" in path:
            gates = np.zeros(x.shape, np.float32)
            if "kernel_in" in path:
                gates[:] = 2 / x.shape[0]
            if "bias" in path:
                size = x.shape[-1] // 4
                gates[..., size : 2 * size] = -30  # forget
            return jnp.asarray(gates)
        if "bias" in path:
            return jnp.zeros_like(x)
        if "scale" in path or "norm" in path:
            return x
        fan_in = np.prod(x.shape[:-1]) if x.ndim < 5 else np.prod(x.shape[1:-1])
        if "score" in path:
            return jnp.full_like(x, 40 / fan_in)
        return jnp.full_like(x, gain / fan_in)

    return jax.tree_util.tree_map_with_path(value, params)


@pytest.mark.parametrize("variant", [v for v in VARIANTS if "mscnn" not in v])
def test_a_loud_block_draws_mass_to_where_it_is(variant):
    subject = make_subject(variant)
    places = LARGE_PLACES if subject.name == "afcn" else PLACES
    frames = np.full((3, *subject.shapes["frames"]), 0.1, np.float32)
    for i, ((low, high), (start, end)) in enumerate(places):
        frames[i + 1, start:end, low:high] = 6.0
    mask = jnp.ones(frames.shape[:2], bool)
    batch = {"frames": jnp.asarray(frames), "frame_mask": mask}
    mass, grid = total(subject.maps(batch, averaging(subject.params)))
    times, middles = (np.array(x[1:]) + x[:-1] for x in (grid.columns, grid.bands))
    for i, ((low, high), (start, end)) in enumerate(places):
        gain = np.maximum(mass[i + 1] - mass[0], 0)
        gain /= gain.sum()
        assert start <= gain.sum(axis=0) @ times / 2 <= end
        if "rows" in variant:  # rows do not compete
            rows = mass[i + 1].sum(axis=1)
            np.testing.assert_allclose(rows, 1 / len(rows), rtol=1e-5)
        elif len(gain) > 1:
            assert low <= gain.sum(axis=1) @ middles / 2 <= high


@pytest.mark.parametrize("variant", ["mscnn_spu", "mscnn_spu matched"])
def test_a_loud_word_draws_mass_to_where_it_is(variant):
    subject = make_subject(variant)
    batch = batch_of(subject.shapes, (17, 17, 17), words=(7, 7, 7))
    words = np.full(batch["words"].shape, 0.1, np.float32)
    places = (1, 5, 3)
    words[np.arange(3), places] = 9.0
    batch |= {"words": jnp.asarray(words), "frames": jnp.abs(batch["frames"])}
    maps = subject.maps(batch, averaging(subject.params))
    assert list(maps) == ["2 words", "3 words", "4 words", "5 words"]
    mass, _ = total(maps)
    for i, word in enumerate(places):
        # Both pairs with the loud word score alike, and each gives it its half.
        pairs = np.asarray(maps["2 words"].mass[i, 0])
        assert pairs[word] > 1.5 * max(pairs[word - 1], pairs[word + 1])
        assert np.argmax(mass[i, 0]) in (word - 1, word, word + 1)


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("mscnn_spu", {"attention": "none"}),
        ("cnn3d_attn", {"attention_scale": 0.0}),
        ("afcn", {"attention_scale": 0.0}),
    ],
)
def test_systems_that_do_not_attend_have_no_maps(name, change):
    config, shapes = ENTRIES[name].config(), ENTRIES[name].input_shapes
    config.update(change)
    model = abstract_of(config, shapes)
    model.eval()
    call, params, rest = compiled(model)
    assert jax.eval_shape(call, params, rest, batch_of(shapes, (9, 5, 9)))[1] == {}


def test_folding_by_hand():
    # 5 bands twice, 3 stacked rows per row: 0-2, 3-4 + 0', 1'-3'; the last is dropped.
    mass = jnp.asarray([[[3.0], [6.0], [9.0]]])
    folded, edges = attention_grid.fold_rows(mass, 5, 3)
    assert edges == (0, 3, 5)
    np.testing.assert_allclose(folded[0, :, 0], [3 + 2 + 6, 4 + 3], rtol=1e-6)


def test_spreading_by_hand():
    mass = jnp.asarray([[0.6, 0.4], [1.0, 0.0]])
    mask = jnp.asarray([[True] * 5, [True, True, False, False, False]])
    got = attention_grid.spread(mass, mask, size=3, step=2)
    want = [[0.2, 0.2, 0.2 + 0.4 / 3, 0.4 / 3, 0.4 / 3], [0.5, 0.5, 0, 0, 0]]
    np.testing.assert_allclose(got, want, rtol=1e-6)
    np.testing.assert_allclose(
        attention_grid.sum_groups(got, 2)[1], [1.0, 0, 0], rtol=1e-6
    )


def test_strided_tiles_lie_about_what_they_read():
    # torchvision's AlexNet: the first cell reads about frame 31, the next 32 further.
    windows = [
        Geometry(11, 4, 2),
        POOL,
        Geometry(5, 1, 2),
        POOL,
        Geometry(3, 1, 1),
        POOL,
    ]
    assert strided.placement(windows) == (31 - 16, 32)
    assert strided.placement([Geometry(3, 2)]) == (0, 2)
    assert strided.placement([Geometry(3, 1, 1)]) == (0, 1)
