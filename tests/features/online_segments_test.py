"""Segments computed from samples equal those cut from the warped recording."""

import jax
import numpy as np
import pytest
from ml_collections import ConfigDict

from ser_jax.data import segment_tables
from ser_jax.data.batches import Index, Tables
from ser_jax.features import online_segments, vtlp
from ser_jax.features.spec import RECIPES
from ser_jax.training.batch import cut_samples
from tests.features.vtlp_test import copies

NUM_SAMPLES = np.array([5003, 300, 8000], np.int64)
WINDOW = 9


def sixteen_bit(num, seed):
    noise = np.random.default_rng(seed).normal(0, 2000, num)
    return np.rint(noise).astype(np.int16)


def table(spec, channels):
    """A samples of three recordings whose blocks lie in another order in their file."""
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
    base = before + np.cumsum([0, *rows])
    whole = segment_tables.SampleTable(
        flat=np.concatenate(padded[::-1]),
        source=np.array([rows[1] + rows[2], rows[2], 0]),
        base=base,
        tail=online_segments.reach(spec, channels, WINDOW).rows,
        recordings=segment_tables.Recordings(
            first_frame=np.cumsum([0, *frames])[:-1].astype(np.int32),
            first_row=base[:-1].astype(np.int32),
            num_samples=NUM_SAMPLES.astype(np.int32),
            log_peak=np.array(peaks, np.float32),
        ),
        spec=spec,
        channels=channels,
    )
    return whole, recordings


def data_of(recipe, channels):
    return ConfigDict({"recipe": recipe, "channels": channels})


@pytest.mark.parametrize("own", [False, True], ids=["table", "host"])
@pytest.mark.parametrize(
    ("recipe", "channels"),
    [("logmel128", 1), ("logmel40_3d", 3), ("logmel64", 2), ("spectrogram200", 1)],
)
def test_windows_are_cut_from_the_warped_recording(recipe, channels, own):
    spec = RECIPES[recipe]
    samples, recordings = table(spec, channels)
    total = [spec.num_frames(int(n)) for n in NUM_SAMPLES]
    # First, middle and last windows, one longer than its recording.
    utterance = np.array([0, 0, 0, 1, 2, 2], np.int32)
    first = np.array([0, 2, total[0] - 3, 0, 0, total[2] - WINDOW], np.int32)
    start = samples.recordings.first_frame[utterance] + first
    num = np.minimum(WINDOW, np.array(total)[utterance] - first)
    index = Index(utterance, start, num, utterance, np.ones(6, np.float32))
    tables = Tables(recordings=samples.recordings)
    if own:
        index = index._replace(samples=samples.segments(start, WINDOW))
    else:
        tables = tables._replace(samples=samples.rows(0, samples.shape[0]))
    alpha = np.array([0.8, 1.2, 0.95, 1.1, 1.0, 0.87], np.float32)

    @jax.jit
    def segments(tables):
        cut = cut_samples(tables, index, data_of(recipe, channels), WINDOW)
        return online_segments.features(cut, WINDOW, spec, channels, alpha)

    got = np.asarray(segments(tables))
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
    samples, recordings = table(spec, 1)
    index = Index(*(np.zeros(1, np.int32),) * 4, np.ones(1, np.float32))
    tables = Tables(
        samples=samples.rows(0, samples.shape[0]), recordings=samples.recordings
    )
    cut = cut_samples(tables, index, data_of("mfcc26", 1), WINDOW)
    got = online_segments.features(cut, WINDOW, spec, 1, np.ones(1, np.float32))
    wave = recordings[0].astype(np.float32) / 32768
    expected = copies(wave, spec, np.ones(1))[0][:WINDOW]
    np.testing.assert_allclose(got[0], expected, rtol=1e-5, atol=1e-3)
    quiet = cut._replace(log_peak=cut.log_peak + 100.0)  # all lies 80 dB below that
    got = online_segments.features(quiet, WINDOW, spec, 1, np.ones(1, np.float32))
    np.testing.assert_allclose(got[0, :, 1:], 0.0, atol=1e-3)


def test_rows_and_segments_agree():
    spec = RECIPES["logmel40_3d"]
    samples, _ = table(spec, 3)
    need = online_segments.reach(spec, 3, WINDOW)
    whole = samples.rows(0, samples.shape[0])
    last = samples.recordings.first_frame[2]
    start = np.array([[0, 5], [last, last + spec.num_frames(int(NUM_SAMPLES[2])) - 1]])
    cut = samples.segments(start, WINDOW)
    assert cut.shape == (2, 2, need.rows, 1, spec.hop_samples)
    place = samples.base[2] - need.before
    np.testing.assert_array_equal(cut[1, 0], whole[place : place + need.rows])
    assert samples.num_bytes == whole.nbytes
