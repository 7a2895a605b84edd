"""What holds for every model: one contract, nine systems, the same questions.

A new model needs an entry in entries.py and nothing here.
"""

import functools
import importlib
import inspect
import re
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from ser_jax.models import MODELS
from ser_jax.models.model import Model
from ser_jax.workdir.checkpoint import Checkpointer, RunRecord, Snapshot
from tests.models.common import abstract, abstract_of, count, fast_jit, filled
from tests.models.entries import ENTRIES

CLASSES = 3
MASKS = {"frames": "frame_mask", "words": "word_mask"}
SHARES = (1.0, 0.7, 0.5, 0.3)  # of a row that is not padding
# The fast suite asks these two what costs a compilation more; `slow` asks all.
REPRESENTATIVES = ("acrnn", "area_attn")


def make_batch(shapes, shares=SHARES, seed=0):
    """Random rows of several lengths; padding is 0."""
    rng = np.random.default_rng(seed)
    batch = {}
    for name, shape in shapes.items():
        x = rng.normal(size=(len(shares), *shape)).astype(np.float32)
        if name in MASKS:
            lengths = np.ceil(np.array(shares) * shape[0])
            mask = np.arange(shape[0]) < lengths[:, None]
            x *= mask.reshape(*mask.shape, *[1] * (x.ndim - 2))
            batch[MASKS[name]] = jnp.asarray(mask)
        batch[name] = jnp.asarray(x)
    return batch


def dirty(batch):
    """The same batch with rubbish in the padding."""
    result = dict(batch)
    for name, mask in MASKS.items():
        if name in batch:
            valid = batch[mask].reshape(
                *batch[mask].shape, *[1] * (batch[name].ndim - 2)
            )
            result[name] = jnp.where(valid, batch[name], 77.0)
    return result


def longer(batch, more=6):
    """The same batch with more padding."""
    padded = (*MASKS, *MASKS.values())

    def pad(x):
        return jnp.pad(x, [(0, 0), (0, more), *[(0, 0)] * (x.ndim - 2)])

    return {name: pad(x) if name in padded else x for name, x in batch.items()}


def rows(batch, chosen):
    return {name: x[jnp.array(chosen)] for name, x in batch.items()}


def paths(state):
    """Leaves by paths such as `convs/0/conv/bias`."""
    flat = nnx.to_flat_state(state)
    return {"/".join(map(str, path)): leaf[...] for path, leaf in flat}


def close(got, want, tolerance=1e-5):
    """Every leaf agrees, relative to the largest number of its tree."""
    largest = max(float(np.abs(x).max()) for x in jax.tree.leaves(want))
    for a, b in zip(jax.tree.leaves(got), jax.tree.leaves(want), strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=tolerance * max(1.0, largest))


def evaluate_with(graphdef):
    """Logits, embedding and what `classify` makes of it, in evaluation."""

    def evaluate(params, rest, batch):
        model = nnx.merge(graphdef, params, rest, copy=True)
        model.eval()
        embedding = model.embed(batch)
        return model(batch), embedding, model.classify(embedding)

    return evaluate


def step_with(graphdef):
    """Gradients and new statistics of a training step."""

    def step(params, rest, batch, key):
        labels = jnp.arange(len(batch["frames"])) % CLASSES

        def loss(params):
            model = nnx.merge(graphdef, params, rest, copy=True)
            model.train()
            logits = model(batch, rngs=nnx.Rngs(dropout=key))
            taken = jax.nn.log_softmax(logits)[jnp.arange(len(labels)), labels]
            return -taken.mean(), nnx.split(model, nnx.Param, ...)[2]

        return jax.grad(loss, has_aux=True)(params)

    return step


def make_state(name, seed=0, **changes):
    """The small model with random values: graph definition, parameters, the rest."""
    config = ENTRIES[name].config()
    config.update(changes)
    model = abstract_of(config, ENTRIES[name].input_shapes, CLASSES)
    return nnx.split(filled(model, seed), nnx.Param, ...)


@functools.cache
def make_subject(name):
    graphdef, *state = make_state(name)
    batch = make_batch(ENTRIES[name].input_shapes)
    evaluate = fast_jit(evaluate_with(graphdef))
    return SimpleNamespace(
        name=name,
        entry=ENTRIES[name],
        batch={key: batch[key] for key in MODELS[name].INPUTS if key in batch},
        state=state,
        graphdef=graphdef,
        evaluate=evaluate,
        logits=lambda batch: evaluate(*state, batch)[0],
        step=fast_jit(step_with(graphdef)),
    )


@pytest.fixture(params=sorted(set(MODELS) & set(ENTRIES)))
def subject(request):
    """A small model, split, with its compiled functions."""
    return make_subject(request.param)


@pytest.fixture(
    params=[
        pytest.param(name, marks=() if name in REPRESENTATIVES else pytest.mark.slow)
        for name in sorted(set(MODELS) & set(ENTRIES))
    ]
)
def one_subject(request):
    """The same; in the fast suite the representatives only."""
    return make_subject(request.param)


def test_every_model_has_an_entry_and_every_entry_a_model():
    assert set(ENTRIES) == set(MODELS)


def test_keeps_the_contract(subject):
    model = MODELS[subject.name]
    arrays = {"words", "word_mask", "speaker_embedding"}
    assert set(model.INPUTS) <= {"frames", "frame_mask"} | arrays
    for name in ("__init__", "embed", "classify", "__call__", "attention_maps"):
        contract = inspect.signature(getattr(Model, name)).parameters.values()
        method = inspect.signature(getattr(model, name)).parameters.values()
        if (subject.name, name) == ("encoder", "__init__"):
            *method, one = method  # that is trained with it, if any is
            assert (one.name, one.default) == ("encoder", None)
        assert [(p.name, p.kind, p.default) for p in method] == [
            (p.name, p.kind, p.default) for p in contract
        ]


def test_one_name_everywhere(subject):
    name = subject.name
    module = importlib.import_module(f"configs.{name}")
    assert module.get_config().model.name == name == subject.entry.config().name
    assert MODELS[name].__module__ == f"ser_jax.models.{name}"


def test_every_preset_builds(subject):
    module = importlib.import_module(f"configs.{subject.name}")
    for preset in module.PRESETS:
        shapes = dict(subject.entry.full_shapes)
        if module.get_config(preset).model.get("modality") == "audio":
            del shapes["words"]
        model = abstract(subject.name, shapes, 7, preset)
        leaves = jax.tree.leaves(nnx.state(model, nnx.Param))
        assert {x.dtype for x in leaves} == {jnp.dtype("float32")}


def test_published_size_has_the_published_parameters(subject):
    model = abstract(subject.name, subject.entry.full_shapes, 4)
    assert count(model) == subject.entry.num_params
    small = sum(x.size for x in jax.tree.leaves(subject.state[0]))
    assert small == subject.entry.small_params


def test_width_thins_every_layer(subject):
    if not subject.entry.thins:
        pytest.skip("its layers are as wide as its input")
    model = abstract(subject.name, subject.entry.full_shapes, 4, width=0.5)
    # A weight between two thinned layers is a quarter, one beside an input a half.
    assert 0.2 < count(model) / subject.entry.num_params < 0.6


def test_logits_are_the_classified_embedding(subject):
    logits, embedding, again = subject.evaluate(*subject.state, subject.batch)
    assert logits.shape == (len(SHARES), CLASSES) and embedding.ndim == 2
    assert logits.dtype == embedding.dtype == jnp.float32
    np.testing.assert_array_equal(logits, again)
    assert np.all(np.isfinite(logits)) and np.ptp(logits, axis=0).max() > 0


def test_rubbish_in_the_padding_changes_nothing(subject):
    close(subject.logits(dirty(subject.batch)), subject.logits(subject.batch))


def test_a_row_alone_and_padded_further_has_the_same_logits(subject):
    alone = rows(subject.batch, [2])
    if subject.entry.free_length:  # else its layers are made for one length
        alone = longer(alone)
    close(subject.logits(alone), subject.logits(subject.batch)[2:3])


def test_the_order_of_a_batch_does_not_matter(subject):
    order = [3, 1, 0, 2]
    logits = subject.logits(subject.batch)[jnp.array(order)]
    close(subject.logits(rows(subject.batch, order)), logits)


def test_every_parameter_learns(subject):
    grads, stats = subject.step(*subject.state, subject.batch, jax.random.key(1))
    normed = {path.rpartition("/norm/")[0] for path in paths(stats) if "/norm/" in path}
    for path, grad in paths(grads).items():
        assert np.all(np.isfinite(grad)), path
        # Batch norm takes away what the bias before it added.
        absorbed = path.endswith("/bias") and path.rpartition("/")[0].rpartition("/")
        if absorbed and absorbed[0] in normed and absorbed[2] != "norm":
            continue
        if not any(re.fullmatch(p, path) for p in subject.entry.no_gradient):
            assert np.any(grad != 0), f"{path} gets no gradient"


def test_training_counts_no_padding(subject):
    key = jax.random.key(2)
    clean = subject.step(*subject.state, subject.batch, key)
    close(subject.step(*subject.state, dirty(subject.batch), key), clean, 1e-4)


def test_statistics_are_of_valid_cells_only(subject):
    twice = rows(subject.batch, [0, 0, 2, 2])
    once = rows(subject.batch, [0, 2, 0, 2])
    for name, x in once.items():  # the second half is padding only
        once[name] = jnp.concatenate([x[:2], jnp.zeros_like(x[2:])])
    key = jax.random.key(8)
    statistics = [subject.step(*subject.state, b, key)[1] for b in (twice, once)]
    if jax.tree.leaves(statistics):
        close(*statistics, 1e-4)


def test_an_empty_row_harms_nothing(subject):
    shapes = subject.entry.input_shapes
    empty = make_batch(shapes, (*SHARES[:-1], 0.0))
    empty = {key: empty[key] for key in subject.batch}
    result = subject.step(*subject.state, empty, jax.random.key(3))
    result = *result, subject.evaluate(*subject.state, empty)
    assert all(np.all(np.isfinite(x)) for x in jax.tree.leaves(result))


def test_compiling_changes_nothing(one_subject):
    evaluate = evaluate_with(one_subject.graphdef)
    jax.config.update("jax_disable_most_optimizations", True)  # ~100 small programs
    try:
        logits = evaluate(*one_subject.state, one_subject.batch)[0]
    finally:
        jax.config.update("jax_disable_most_optimizations", False)
    close(logits, one_subject.logits(one_subject.batch))


def test_bfloat16_is_near_float32(one_subject):
    graphdef, *_ = make_state(one_subject.name, dtype="bfloat16")
    evaluate = fast_jit(evaluate_with(graphdef))
    logits, embedding, _ = evaluate(*one_subject.state, one_subject.batch)
    precise = one_subject.logits(one_subject.batch)
    assert logits.dtype == embedding.dtype == jnp.float32
    assert np.any(logits != precise), "dtype is not used"
    # Eight bits of fraction: 0.4 % an operation, some tens of them in a row.
    close(logits, precise, 0.05)


def test_stacked_runs_are_the_runs(one_subject):
    states = [one_subject.state, make_state(one_subject.name, seed=9)[1:]]
    batches = [one_subject.batch, rows(one_subject.batch, [1, 3, 2, 0])]
    keys = [jax.random.key(4), jax.random.key(5)]
    step = step_with(one_subject.graphdef)
    # As users compile: without these, which `conftest` leaves out, XLA rounds the two
    # otherwise, and a maximum (head_fusion's) may be in another place.
    users = {"xla_cpu_use_fusion_emitters": True}
    jit = functools.partial(jax.jit, compiler_options=users)
    alone = jit(step)
    single = [
        alone(*state, batch, key)
        for state, batch, key in zip(states, batches, keys, strict=True)
    ]
    (params, rest), batch, key = jax.tree.map(
        lambda a, b: jnp.stack([a, b]),
        *zip(map(tuple, states), batches, keys, strict=True),
    )
    both = jit(jax.vmap(step))(params, rest, batch, key)
    for run, one in enumerate(single):
        # Sums over a batch in another order; batch norm divides by small deviations.
        close(jax.tree.map(lambda x, run=run: x[run], both), one, 1e-4)


def test_a_checkpoint_brings_the_model_back(one_subject, tmp_path):
    subject = one_subject

    def snapshot(state):
        states = dict(zip(("params", "stats"), state, strict=True))
        states = jax.tree.map(lambda x: np.asarray(x)[None], states)
        return Snapshot(states=states, best={}, totals={}, records=[RunRecord()])

    _, stats = subject.step(*subject.state, subject.batch, jax.random.key(6))
    state = subject.state[0], stats
    store = Checkpointer(tmp_path, provenance={"config": {}})
    store.save(snapshot(state), normalisation={})
    store.close()
    restored = store.restore(snapshot(make_state(subject.name, seed=7)[1:])).states
    restored = jax.tree.map(lambda x: x[0], restored)
    np.testing.assert_array_equal(
        subject.evaluate(restored["params"], restored["stats"], subject.batch)[0],
        subject.evaluate(*state, subject.batch)[0],
    )
