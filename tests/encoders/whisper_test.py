"""Whisper's spectrogram against librosa's, its encoder against transformers'."""

import jax
import jax.numpy as jnp
import librosa
import numpy as np
import pytest
from flax import nnx

from ser_jax.encoders.log_mel import log_mel, mel_filters
from ser_jax.encoders.whisper import source_of
from ser_jax.errors import InputError
from tests.encoders import tiny_whisper as tiny
from tests.encoders.common import (
    assert_gradients_close,
    batch,
    gradients,
    run,
    speech,
)
from tests.models.common import fast_jit

# Float32 after some hundred operations, states of size 1 to 10.
CLOSE = {"rtol": 1e-4, "atol": 1e-4}
LONGEST = 9 * 320  # samples that the tiny encoder's positions last
# One layer, where more would fail likewise.
ONE = tiny.CONFIG | {"encoder_layers": 1}
# A loss is the sum of its products with the states of two utterances.
PROBE = np.random.default_rng(4).normal(size=(3, 2, 9, 24)).astype(np.float32)

compiled = fast_jit(log_mel, static_argnums=2)


def reference_log_mel(wave, num_mels):
    """[T, F] in float64 by librosa's functions."""
    filters = librosa.filters.mel(sr=16_000, n_fft=400, n_mels=num_mels)
    stft = librosa.stft(
        wave.astype(np.float64), n_fft=400, hop_length=160, pad_mode="reflect"
    )
    logs = np.log10(np.maximum(filters @ np.abs(stft[:, :-1]) ** 2, 1e-10))
    return ((np.maximum(logs, logs.max() - 8) + 4) / 4).T


@pytest.mark.parametrize("num_mels", [80, 128])
def test_filters_are_librosas(num_mels):
    expected = librosa.filters.mel(sr=16_000, n_fft=400, n_mels=num_mels).T
    np.testing.assert_allclose(mel_filters(num_mels), expected, atol=1e-8)


def test_log_mel_is_librosas_of_each_utterance_alone():
    # The first and last lengths of a frame; loud ends, so that their mirror is heard.
    waves = [
        speech(count, i) * np.geomspace(0.01, 1, count, dtype=np.float32)
        for i, count in enumerate((401, 799, 800, 2399, 3210))
    ]
    samples, lengths = batch(waves, filling=np.nan)
    logs, frames = compiled(samples, lengths, 80)
    assert logs.shape == (5, 20, 80) and frames.tolist() == [2, 4, 5, 14, 20]
    for found, count, wave in zip(logs, frames, waves, strict=True):
        # JAX's FFT is in float32; the quiet filters of a loud frame feel it.
        expected = reference_log_mel(wave, 80)
        np.testing.assert_allclose(found[:count], expected, atol=1e-4)
        assert not found[count:].any()


def test_quiet_frames_stop_8_below_the_utterances_own_maximum():
    loud, quiet = speech(3200), 1e-5 * speech(3200)
    mixed = np.concatenate([loud[:1600], quiet[1600:]])
    silent = np.zeros(3600, np.float32)
    # Loudest in the frame that is dropped, which does not count in a longer batch.
    ending = np.where(np.arange(3200) < 3190, quiet, loud)
    samples, lengths = batch([loud, quiet, mixed, silent, ending])
    logs, _ = compiled(samples, lengths, 80)
    for found, wave in ((logs[1], quiet), (logs[4], ending)):
        np.testing.assert_allclose(found[:20], reference_log_mel(wave, 80), atol=1e-4)
    np.testing.assert_allclose(logs[2].max() - logs[2, :20].min(), 2, atol=1e-6)
    np.testing.assert_allclose(logs[3], (-10 + 4) / 4, atol=1e-6)


def hugging_face(config, tensors):
    """transformers' encoder in float64, for exactly as many steps as positions."""
    torch = pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    options = {k: v for k, v in config.items() if k != "model_type"}
    whole = transformers.WhisperConfig(
        vocab_size=3,
        pad_token_id=0,
        bos_token_id=1,
        eos_token_id=1,
        decoder_start_token_id=1,
        **options,
    )
    encoder = transformers.WhisperModel(whole).encoder.double().eval()
    encoder.load_state_dict(
        {name.removeprefix("encoder."): torch.tensor(x) for name, x in tensors.items()}
    )
    return encoder


@pytest.mark.parametrize("activation", ["gelu", "gelu_new", "relu"])
def test_states_and_gradients_are_those_of_transformers(activation):
    torch = pytest.importorskip("torch")
    config = tiny.CONFIG | {"activation_function": activation}
    tensors = tiny.tensors(config)
    theirs, wave = hugging_face(config, tensors), speech(LONGEST)
    mel = reference_log_mel(wave, 80).T[None]
    expected = theirs(torch.tensor(mel), output_hidden_states=True).hidden_states

    encoder = tiny.encoder(config, tensors)
    probe = PROBE[:, :1]
    states, grads = gradients(encoder, [wave], probe)
    assert states.shape == (3, 1, 9, 24)
    for ours, layer in zip(states, expected, strict=True):
        np.testing.assert_allclose(ours, layer.detach().numpy(), **CLOSE)

    (torch.tensor(probe) * torch.stack(expected)).sum().backward()
    parameters = dict(theirs.named_parameters())
    flat = nnx.to_flat_state(nnx.state(encoder, nnx.Param))
    assert len(flat) == len(grads) == len(parameters) - 1  # the positions
    for path, _ in flat:
        source = source_of(path)
        grad = parameters[source.name.removeprefix("encoder.")].grad.numpy()
        ours = grads["".join(f"[{part!r}]" for part in path)]
        scale = np.abs(grad).max()
        np.testing.assert_allclose(
            ours, grad.transpose(source.axes or range(grad.ndim)), atol=1e-3 * scale
        )


def test_a_padded_utterance_is_what_it_is_alone():
    encoder = tiny.encoder(ONE)
    # An odd and an even number of frames: what the second convolution reads differs.
    odd, even, full = speech(1767, 1), speech(1607, 2), speech(LONGEST, 3)
    alone, expected = gradients(encoder, [odd], PROBE[:2, :1])
    assert alone.shape == (2, 1, 6, 24)
    # Only one padded utterance counts, and its padding is worth nothing.
    probe = PROBE[:2, :1] * np.array([1.0, 0.0, 0.0], np.float32)[:, None, None]
    states, grads = gradients(encoder, [odd, even, full], probe, filling=np.nan)
    np.testing.assert_allclose(states[:, 0, :6], alone[:, 0], **CLOSE)
    np.testing.assert_allclose(states[:, 1, :5], run(encoder, [even])[0][:, 0], **CLOSE)
    assert np.all(states[:, 0, 6:] == 0) and np.all(states[:, 1, 5:] == 0)
    assert np.all(states[:, 2] != 0)
    assert_gradients_close(grads, expected)


def test_a_short_utterance_is_lengthened_with_zeros():
    wave, encoder = speech(150), tiny.encoder(ONE)
    states, steps = run(encoder, [wave, wave[:0]], filling=np.nan)
    assert steps.tolist() == [1, 1] and np.all(np.isfinite(states))
    longer, _ = run(encoder, [np.pad(wave, (0, 51))])
    np.testing.assert_allclose(states[:, :1], longer, **CLOSE)


def test_more_speech_than_positions_is_refused():
    with pytest.raises(InputError, match=r"at most 0\.18 s of speech .*got 0\.19 s"):
        run(tiny.encoder(), [speech(LONGEST + 160)])
    states, _ = run(tiny.encoder(), [speech(LONGEST + 159)], layers=(0,))
    assert states.shape[2] == 9


def test_layers_above_the_highest_are_not_computed():
    tensors = tiny.tensors()
    every, _ = run(tiny.encoder(found=tensors), [speech(1900)])
    for name in tensors:
        if name.startswith(("encoder.layers.1.", "encoder.layer_norm")):
            tensors[name][:] = np.nan
    broken = tiny.encoder(found=tensors)
    some, _ = run(broken, [speech(1900)], layers=(1, 0))
    np.testing.assert_allclose(some, every[jnp.array([1, 0])], **CLOSE)
    with pytest.raises(ValueError, match=r"layers: expected some of 0 to 2, got \(3,"):
        run(broken, [speech(1900)], layers=(3,))


def test_positions_are_not_trained():
    encoder = tiny.encoder()
    paths = {path for path, _ in nnx.to_flat_state(nnx.state(encoder, nnx.Param))}
    assert ("positions",) not in paths and ("conv1", "kernel") in paths


def test_recomputing_layers_changes_no_gradient():
    waves = [speech(1900, 1), speech(LONGEST, 2)]
    states, expected = gradients(tiny.encoder(ONE), waves, PROBE[:2])
    lean = tiny.encoder(ONE, remat=True)
    assert str(jax.make_jaxpr(lambda: lean(*batch(waves)))()).count("remat") >= 1
    again, grads = gradients(lean, waves, PROBE[:2])
    np.testing.assert_allclose(again, states, **CLOSE)
    assert_gradients_close(grads, expected)


def test_bfloat16_is_close():
    waves = [speech(1900, 1), speech(LONGEST, 2)]
    encoder = tiny.encoder(ONE, dtype=jnp.bfloat16)
    states, grads = gradients(encoder, waves, PROBE[:2])
    expected, exact = gradients(tiny.encoder(ONE), waves, PROBE[:2])
    assert states.dtype == jnp.bfloat16
    params = jax.tree.leaves(nnx.state(encoder, nnx.Param))
    assert {p.dtype for p in params} == {jnp.dtype(jnp.float32)}
    # Eight bits of significand, rounded some dozen times.
    off = np.abs(np.asarray(states, np.float32) - expected)
    assert 1e-3 < off.max() < 0.1 * np.abs(expected).max()
    for name, grad in grads.items():
        assert np.abs(grad - exact[name]).max() < 0.1 * np.abs(exact[name]).max(), name
