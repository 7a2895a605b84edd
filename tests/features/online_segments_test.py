"""Windows made from samples are those cut from the warped recording's features."""

import jax
import numpy as np
import pytest

from ser_jax.data import sample_table
from ser_jax.data.batches import Index, Tables
from ser_jax.features import online_segments, vtlp
from ser_jax.features.spec import RECIPES
from tests.features.vtlp_test import copies

NUM_SAMPLES = np.array([5003, 300, 8000], np.int64)
WINDOW = 9


def sixteen_bit(num, seed):
    noise = np.random.default_rng(seed).normal(0, 2000, num)
    return np.rint(noise).astype(np.int16)


def table(spec, channels):
    """A buffer of three recordings whose blocks lie in another order in their file."""
    recordings = [sixteen_bit(n, seed) for seed, n in enumerate(NUM_SAMPLES)]
    hop = spec.hop_samples
    padded = [np.pad(x, (0, -len(x) % hop)).reshape(-1, 1, hop) for x in recordings]
    rows = np.array([len(x) for x in padded])
    frames = [spec.num_frames(int(n)) for n in NUM_SAMPLES]
    before = online_segments.reach(spec, channels, 1).before
    peaks = [
        vtlp.log_energies(x.astype(np.float32) / 32768, spec)[0].max()
        for x in recordings
    ]
    buffer = sample_table.SampleBuffer(
        flat=np.concatenate(padded[::-1]),
        source=np.array([rows[1] + rows[2], rows[2], 0]),
        base=before + np.cumsum([0, *rows]),
        frame_base=np.cumsum([0, *frames]),
        num_samples=NUM_SAMPLES,
        log_peak=np.array(peaks, np.float32),
        spec=spec,
        channels=channels,
        window_frames=WINDOW,
    )
    return buffer, recordings


@pytest.mark.parametrize("own", [False, True], ids=["table", "own rows"])
@pytest.mark.parametrize(
    ("recipe", "channels"),
    [("logmel128", 1), ("logmel40_3d", 3), ("logmel64", 2), ("spectrogram200", 1)],
)
def test_windows_are_cut_from_the_warped_recording(recipe, channels, own):
    spec = RECIPES[recipe]
    buffer, recordings = table(spec, channels)
    total = [spec.num_frames(int(n)) for n in NUM_SAMPLES]
    # First, middle and last windows, one longer than its recording.
    utterance = np.array([0, 0, 0, 1, 2, 2], np.int32)
    first = np.array([0, 2, total[0] - 3, 0, 0, total[2] - WINDOW], np.int32)
    start = (buffer.frame_base[utterance] + first).astype(np.int32)
    num = np.minimum(WINDOW, np.array(total)[utterance] - first)
    index = Index(utterance, start, num, utterance, np.ones(6, np.float32))
    rows = buffer.rows(0, buffer.shape[0])
    if own:
        rows = buffer.windows(start, WINDOW).reshape(-1, *rows.shape[1:])
    alpha = np.array([0.8, 1.2, 0.95, 1.1, 1.0, 0.87], np.float32)

    @jax.jit
    def windows(tables):
        cut = sample_table.cut(tables, index, WINDOW, spec, channels, own=own)
        return online_segments.features(cut, alpha, WINDOW, spec, channels)

    tables = Tables(samples=rows, recordings=buffer.recordings)
    got = np.asarray(windows(tables))
    assert got.shape == (6, WINDOW, spec.num_bands, channels)
    for i, u in enumerate(utterance):
        wave = recordings[u].astype(np.float32) / 32768
        whole = copies(wave, spec, alpha[i : i + 1])[0]
        expected = whole[first[i] : first[i] + num[i], :, :channels]
        # A quiet bin is what float32 leaves of larger numbers.
        atol = 2e-3 if spec.kind == "spectrogram" else 2e-4
        np.testing.assert_allclose(got[i, : num[i]], expected, atol=atol)


def test_top_db_counts_from_the_unwarped_peak():
    spec = RECIPES["mfcc26"]
    buffer, recordings = table(spec, 1)
    index = Index(*(np.zeros(1, np.int32),) * 4, np.ones(1, np.float32))
    tables = Tables(
        samples=buffer.rows(0, buffer.shape[0]), recordings=buffer.recordings
    )
    cut = sample_table.cut(tables, index, WINDOW, spec, 1, own=False)
    got = online_segments.features(cut, np.ones(1, np.float32), WINDOW, spec, 1)
    wave = recordings[0].astype(np.float32) / 32768
    expected = copies(wave, spec, np.ones(1))[0][:WINDOW]
    np.testing.assert_allclose(got[0], expected, rtol=1e-5, atol=1e-3)
    quiet = cut._replace(log_peak=cut.log_peak + 100.0)  # all lies 80 dB below that
    got = online_segments.features(quiet, np.ones(1, np.float32), WINDOW, spec, 1)
    np.testing.assert_allclose(got[0, :, 1:], 0.0, atol=1e-3)


def test_rows_and_windows_agree():
    spec = RECIPES["logmel40_3d"]
    buffer, _ = table(spec, 3)
    need = online_segments.reach(spec, 3, WINDOW)
    whole = buffer.rows(0, buffer.shape[0])
    start = np.array([[0, 5], [buffer.frame_base[2], buffer.frame_base[3] - 1]])
    cut = buffer.windows(start, WINDOW)
    assert cut.shape == (2, 2, need.rows, 1, spec.hop_samples)
    place = buffer.base[2] - need.before
    np.testing.assert_array_equal(cut[1, 0], whole[place : place + need.rows])
    assert buffer.num_bytes == whole.nbytes
