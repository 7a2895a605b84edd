"""Copies of a take are recognised; other takes of the same sentence are not."""

import csv
from pathlib import Path

import numpy as np
import pytest
import soundfile
import soxr

from ser_jax.datasets import same_sound

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


def sketches(**recordings):
    return {
        name: same_sound.sketch(*(x if isinstance(x, tuple) else (x, RATE_HZ)))
        for name, x in recordings.items()
    }


def test_equal_samples_are_found_whatever_their_names():
    one, two = take(1), take(2)
    got = sketches(b=one, a=one.copy(), c=two, d=two.copy(), e=two.copy(), f=take(3))
    assert same_sound.find_equal(got) == [("a", "b"), ("c", "d", "e")]
    assert same_sound.find_similar(got) == []
    # The same numbers at another rate are another sound.
    assert same_sound.find_equal(sketches(a=one, b=(one, 8000))) == []


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
def test_copies_of_a_take_are_similar(copy):
    got = sketches(a=take(1), b=copy(take(1)), c=take(2), d=take(3))
    assert same_sound.find_similar(got) == [("a", "b")]


def test_short_silent_and_low_rate_recordings_are_no_copies_of_each_other():
    silence = np.zeros(8000, np.float32)
    got = sketches(
        a=silence,
        b=silence[:-1],
        c=take(1)[:800],
        d=take(1)[:801],
        e=(take(4)[:3000], 1000),
        f=(take(5)[:3000], 1000),
    )
    assert same_sound.find_similar(got) == []


@pytest.mark.skipif(not EMODB.is_file(), reason=f"EMO-DB is not at {EMODB}")
def test_no_two_recordings_of_emodb_are_copies():
    with EMODB.open(newline="") as file:
        paths = [EMODB.parent / row["path"] for row in csv.DictReader(file)]
    recordings = {p.stem: soundfile.read(p, dtype="float32") for p in paths}
    got = sketches(**recordings, copy=(0.5 * recordings["03a01Fa"][0][99:], RATE_HZ))
    assert same_sound.find_equal(got) == []
    assert same_sound.find_similar(got) == [("03a01Fa", "copy")]
