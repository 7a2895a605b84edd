"""Copies of a take are recognised; other takes of the same sentence are not."""

import csv
from pathlib import Path

import numpy as np
import pytest
import soundfile
import soxr

from ser_jax.datasets import sketches

EMODB = Path(__file__).parents[3] / "shared/data/emodb/manifest.csv"
RATE_HZ = 16_000


def take(seed, seconds=1.5):
    """Noise whose level and colour change as those of syllables do."""
    rng = np.random.default_rng(seed)
    parts = []
    for size in rng.integers(1000, 3000, 40):
        noise = rng.standard_normal(size)
        low = np.cumsum(noise - noise.mean()) / 30
        parts.append(rng.uniform(0, 0.2) * noise + rng.uniform(0, 0.2) * low)
    return np.concatenate(parts)[: int(seconds * RATE_HZ)].astype(np.float32)


def sketched(**recordings):
    return {
        name: sketches.sketch(*(x if isinstance(x, tuple) else (x, RATE_HZ)))
        for name, x in recordings.items()
    }


def test_a_sound_is_its_samples_and_their_rate():
    one = take(1)
    digests = {
        x.digest
        for x in sketched(a=one, b=one.copy(), c=(one, 8000), d=take(2)).values()
    }
    assert len(digests) == 3


@pytest.mark.parametrize(
    "copy",
    [
        lambda x: 0.25 * x,
        lambda x: -x,
        lambda x: x[80:],
        lambda x: x[:-160],
        lambda x: x[100:-100] * 0.5,
        lambda x: (soxr.resample(x, RATE_HZ, 8000), 8000),
        lambda x: (soxr.resample(x, RATE_HZ, 44_100), 44_100),
        lambda x: (np.rint(x * 2**15) / 2**15).astype(np.float32),
    ],
)
def test_copies_of_a_take_are_found(copy):
    got = sketched(a=take(1), b=copy(take(1)), c=take(2), d=take(3))
    assert sketches.find_near_duplicates(got) == [("a", "b")]


def test_short_silent_and_low_rate_recordings_are_no_copies_of_each_other():
    silence = np.zeros(8000, np.float32)
    got = sketched(
        a=silence,
        b=silence[:-1],
        c=take(1)[:800],
        d=take(1)[:801],
        e=(take(4)[:3000], 1000),
        f=(take(5)[:3000], 1000),
    )
    assert sketches.find_near_duplicates(got) == []


def test_copies_of_copies_are_one_group():
    one, two = take(1), take(2)
    got = sketched(a=one, b=two, c=one[80:], d=0.5 * one, e=take(3), f=two * 0.3)
    assert sketches.find_near_duplicates(got) == [("a", "c", "d"), ("b", "f")]


def test_a_long_recording_is_sketched_as_if_at_once(monkeypatch):
    whole = sketches.sketch(take(1), RATE_HZ)
    monkeypatch.setattr(sketches, "_BLOCK", 7)
    np.testing.assert_array_equal(
        sketches.sketch(take(1), RATE_HZ).envelope, whole.envelope
    )


@pytest.mark.skipif(not EMODB.is_file(), reason=f"EMO-DB is not at {EMODB}")
def test_no_two_recordings_of_emodb_are_copies():
    with EMODB.open(newline="") as file:
        paths = [EMODB.parent / row["path"] for row in csv.DictReader(file)]
    recordings = {p.stem: soundfile.read(p, dtype="float32") for p in paths}
    got = sketched(**recordings, copy=(0.5 * recordings["03a01Fa"][0][99:], RATE_HZ))
    assert sketches.find_near_duplicates(got) == [("03a01Fa", "copy")]
