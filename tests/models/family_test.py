"""What holds for every model: one contract, nine systems, the same questions.

A new model needs an entry in entries.py and nothing here.
"""

import importlib
import re
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from ser_jax.models import MODELS
from ser_jax.workdir.checkpoint import Checkpointer, RunRecord, Snapshot
from tests.models.entries import ENTRIES

CLASSES = 3
MASKS = {"frames": "frame_mask", "words": "word_mask"}
SHARES = (1.0, 0.7, 0.5, 0.3)  # of a row that is not padding
SPLIT_AT = (nnx.Param, ...)
# Compiling is all the time these tests take; LLVM need not try hard.
FAST = {
    "xla_backend_optimization_level": 0,
    "xla_llvm_disable_expensive_passes": True,
}


def compile(function):
    return jax.jit(function, compiler_options=FAST)


def make(name, config, shapes, seed, classes=CLASSES):
    return MODELS[name](
        config, input_shapes=shapes, num_classes=classes, rngs=nnx.Rngs(seed)
    )


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


def count(params):
    return sum(x.size for x in jax.tree.leaves(params))


def abstract_params(name, config, shapes, classes=4):
    """Shapes of the parameters; nothing is allocated."""
    model = nnx.eval_shape(lambda: make(name, config, shapes, 0, classes))
    return nnx.split(model, *SPLIT_AT)[1]


def paths(state):
    """Leaves by paths such as `convs/0/conv/bias`."""
    flat = nnx.to_flat_state(state)
    return {"/".join(map(str, path)): leaf[...] for path, leaf in flat}


def close(got, want, tolerance=1e-5):
    """Every leaf agrees, relative to the largest number of its tree."""
    largest = max(float(np.abs(x).max()) for x in jax.tree.leaves(want))
    for a, b in zip(jax.tree.leaves(got), jax.tree.leaves(want), strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=tolerance * max(1.0, largest))


def definition(name, config):
    """The static half of a model of this config."""
    shapes = ENTRIES[name].input_shapes
    model = nnx.eval_shape(lambda: make(name, config, shapes, 0))
    graphdef, params, _ = nnx.split(model, *SPLIT_AT)
    assert {x.dtype for x in jax.tree.leaves(params)} == {jnp.dtype("float32")}
    return graphdef


def logits_of(graphdef):
    """Logits in evaluation."""

    def logits(params, rest, batch):
        model = nnx.merge(graphdef, params, rest, copy=True)
        model.eval()
        return model(batch)

    return logits


def answer_of(graphdef):
    """Logits, embedding and what `classify` makes of it, in evaluation."""

    def answer(params, rest, batch):
        model = nnx.merge(graphdef, params, rest, copy=True)
        model.eval()
        embedding = model.embed(batch)
        return model(batch), embedding, model.classify(embedding)

    return answer


def step_of(graphdef):
    """Gradients and new statistics of a training step."""

    def step(params, rest, batch, key):
        labels = jnp.arange(len(batch["frames"])) % CLASSES

        def loss(params):
            model = nnx.merge(graphdef, params, rest, copy=True)
            model.train()
            logits = model(batch, rngs=nnx.Rngs(dropout=key))
            chosen = jax.nn.log_softmax(logits)[jnp.arange(len(labels)), labels]
            return -chosen.mean(), nnx.split(model, *SPLIT_AT)[2]

        return jax.grad(loss, has_aux=True)(params)

    return step


@pytest.fixture(scope="module", params=sorted(set(MODELS) & set(ENTRIES)))
def subject(request):
    """A model in small, split, with its compiled functions."""
    name, entry = request.param, ENTRIES[request.param]
    config, shapes = entry.config(), entry.input_shapes
    graphdef = definition(name, config)
    init = compile(
        lambda key: nnx.split(make(name, config, shapes, key), *SPLIT_AT)[1:]
    )
    state = init(jax.random.key(0))
    batch = make_batch(shapes)
    answer = compile(answer_of(graphdef))
    return SimpleNamespace(
        name=name,
        entry=entry,
        batch={key: batch[key] for key in MODELS[name].INPUTS if key in batch},
        init=init,
        state=state,
        eager=logits_of(graphdef),
        answer=answer,
        logits=lambda batch: answer(*state, batch)[0],
        raw_step=step_of(graphdef),
        step=compile(step_of(graphdef)),
    )


def test_every_model_has_an_entry_and_every_entry_a_model():
    assert set(ENTRIES) == set(MODELS)


def test_one_name_everywhere(subject):
    name = subject.name
    module = importlib.import_module(f"configs.{name}")
    assert module.get_config().model.name == name == subject.entry.config().name
    assert MODELS[name].__module__ == f"ser_jax.models.{name}"


def test_presets_change_values_and_never_keys(subject):
    module = importlib.import_module(f"configs.{subject.name}")
    keys = set(module.get_config().model)
    assert {"demo", "emodb"} <= set(module.PRESETS)
    for preset in filter(None, module.PRESETS):
        config = module.get_config(preset)
        assert config.is_locked and set(config.model) == keys
        assert config.model.name == subject.name


def test_published_size_has_the_published_parameters(subject):
    default = importlib.import_module(f"configs.{subject.name}").get_config().model
    params = abstract_params(subject.name, default, subject.entry.full_shapes)
    assert count(params) == subject.entry.num_params
    assert count(subject.state[0]) == subject.entry.small_params
    assert {x.dtype for x in jax.tree.leaves(params)} == {jnp.dtype("float32")}


def test_width_thins_every_layer(subject):
    default = importlib.import_module(f"configs.{subject.name}").get_config().model
    default.width = 0.5
    params = abstract_params(subject.name, default, subject.entry.full_shapes)
    # A weight between two thinned layers is a quarter, one beside an input a half.
    assert 0.2 < count(params) / subject.entry.num_params < 0.6


def test_logits_are_the_classified_embedding(subject):
    logits, embedding, again = subject.answer(*subject.state, subject.batch)
    assert logits.shape == (len(SHARES), CLASSES) and embedding.ndim == 2
    assert logits.dtype == embedding.dtype == jnp.float32
    np.testing.assert_array_equal(logits, again)
    assert np.all(np.isfinite(logits)) and np.ptp(logits, axis=0).max() > 0


def test_rubbish_in_the_padding_changes_nothing(subject):
    close(subject.logits(dirty(subject.batch)), subject.logits(subject.batch))


def test_more_padding_changes_nothing(subject):
    if not subject.entry.free_length:
        pytest.skip("its layers are made for one length")
    close(subject.logits(longer(subject.batch)), subject.logits(subject.batch))


def test_a_row_answers_alone_as_in_company(subject):
    together = subject.logits(subject.batch)
    close(subject.logits(rows(subject.batch, [2])), together[jnp.array([2])])
    order = [3, 1, 0, 2]
    close(subject.logits(rows(subject.batch, order)), together[jnp.array(order)])


def test_compiling_changes_nothing(subject):
    jax.config.update("jax_disable_most_optimizations", True)  # ~100 small programs
    try:
        logits = subject.eager(*subject.state, subject.batch)
    finally:
        jax.config.update("jax_disable_most_optimizations", False)
    close(logits, subject.logits(subject.batch))


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
    result = *result, subject.answer(*subject.state, empty)
    assert all(np.all(np.isfinite(x)) for x in jax.tree.leaves(result))


def test_bfloat16_is_near_float32(subject):
    config = subject.entry.config()
    config.dtype = "bfloat16"
    answer = compile(answer_of(definition(subject.name, config)))
    logits, embedding, _ = answer(*subject.state, subject.batch)
    wanted = subject.logits(subject.batch)
    assert logits.dtype == embedding.dtype == jnp.float32
    assert np.any(logits != wanted), "dtype is not used"
    # Eight bits of fraction: 0.4 % an operation, some tens of them in a row.
    close(logits, wanted, 0.05)


def test_stacked_runs_are_the_runs(subject):
    states = [subject.state, subject.init(jax.random.key(9))]
    batches = [subject.batch, rows(subject.batch, [1, 3, 2, 0])]
    keys = [jax.random.key(4), jax.random.key(5)]
    single = [
        subject.step(*state, batch, key)
        for state, batch, key in zip(states, batches, keys, strict=True)
    ]
    (params, rest), batch, key = jax.tree.map(
        lambda a, b: jnp.stack([a, b]), *zip(states, batches, keys, strict=True)
    )
    both = compile(jax.vmap(subject.raw_step))(params, rest, batch, key)
    for run, wanted in enumerate(single):
        # Sums over a batch in another order; batch norm divides by small deviations.
        close(jax.tree.map(lambda x, run=run: x[run], both), wanted, 1e-4)


def test_a_checkpoint_brings_the_model_back(subject, tmp_path):
    def snapshot(state):
        states = dict(zip(("params", "stats"), state, strict=True))
        states = jax.tree.map(lambda x: np.asarray(x)[None], states)
        return Snapshot(states=states, best={}, totals={}, records=[RunRecord()])

    _, stats = subject.step(*subject.state, subject.batch, jax.random.key(6))
    state = subject.state[0], stats
    store = Checkpointer(tmp_path, provenance={"config": {}})
    store.save(snapshot(state), normalisation={})
    store.wait()
    restored = store.restore(snapshot(subject.init(jax.random.key(7)))).states
    store.close()
    restored = jax.tree.map(lambda x: x[0], restored)
    np.testing.assert_array_equal(
        subject.answer(restored["params"], restored["stats"], subject.batch)[0],
        subject.answer(*state, subject.batch)[0],
    )
