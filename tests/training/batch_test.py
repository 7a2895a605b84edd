"""`make_batch`: the same batch wherever segments are cut; draws come from the key."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ser_jax.data.batches import Index, Tables
from ser_jax.training.batch import make_batch
from ser_jax.training.state import Constants

WINDOW = 7


@pytest.fixture
def inputs():
    """A table of 31 frames with 5 bands, four segments and a run's constants."""
    rng = np.random.default_rng(1)
    frames = rng.standard_normal((31, 5, 1)).astype(np.float32)
    index = Index(
        utterance=np.array([1, 0, 2, 1]),
        start=np.array([0, 3, 9, 20]),
        num_frames=np.array([7, 7, 4, 7]),
        label=np.array([0, 1, 2, 1]),
        weight=np.ones(4, np.float32),
    )
    constants = Constants(
        mean=rng.standard_normal((5, 1)).astype(np.float32),
        std=rng.uniform(0.5, 2, (5, 1)).astype(np.float32),
        class_weight=np.ones(3, np.float32),
        steps_per_epoch=np.int32(4),
        seed=np.uint32(7),
    )
    return frames, index, constants


def compiled(config):
    return jax.jit(functools.partial(make_batch, config=config, window_frames=WINDOW))


def test_segments_from_the_host_make_the_same_batch(tiny_config, inputs):
    frames, index, constants = inputs
    make = compiled(tiny_config)
    device = make(Tables(frames), index, constants)
    cut = frames[index.start[:, None] + np.arange(WINDOW)]
    host = make(Tables(), index._replace(frames=cut), constants)
    assert device.keys() == host.keys() == {"frames", "frame_mask"}
    jax.tree.map(np.testing.assert_array_equal, device, host)


def test_a_key_adds_targets_and_draws_and_none_changes_nothing(tiny_config, inputs):
    frames, index, constants = inputs
    plain = compiled(tiny_config.copy_and_resolve_references())
    tiny_config.augment.freq_mask_bands = 5
    tiny_config.augment.mixup_alpha = 0.5
    tiny_config.train.label_smoothing = 0.1
    make = compiled(tiny_config)
    without_key = make(Tables(frames), index, constants)
    unchanged = plain(Tables(frames), index, constants)
    jax.tree.map(np.testing.assert_array_equal, without_key, unchanged)
    first, again, other = (
        make(Tables(frames), index, constants, jax.random.key(seed))
        for seed in (0, 0, 1)
    )
    jax.tree.map(np.testing.assert_array_equal, first, again)
    assert not np.array_equal(first["frames"], without_key["frames"])
    assert not np.array_equal(first["frames"], other["frames"])
    np.testing.assert_allclose(jnp.sum(first["targets"], axis=1), 1.0, rtol=1e-6)


def test_an_owner_scales_its_own_utterances(tiny_config, inputs):
    """`data.normalize=speaker`: utterances 0 and 2 are the first's, 1 the second's."""
    frames, index, constants = inputs
    tiny_config.data.normalize = "speaker"
    owner = np.array([0, 1, 0], np.int32)
    mean = np.stack([constants.mean, 3 + constants.mean])
    std = np.stack([constants.std, 2 * constants.std])
    own = {"owner": owner, "owner_mean": mean, "owner_std": std}
    batch = compiled(tiny_config)(Tables(frames, **own), index, constants)
    for row, utterance in enumerate(index.utterance):
        whose = owner[utterance]
        alone = constants._replace(mean=mean[whose], std=std[whose])
        expected = compiled(tiny_config)(Tables(frames), index, alone)["frames"][row]
        np.testing.assert_allclose(batch["frames"][row], expected, rtol=1e-6)
