"""Sketches of recordings, by which copies of a take are recognised."""

import hashlib
import itertools
from collections.abc import Iterable, Mapping
from typing import NamedTuple

import numpy as np
import scipy.spatial

# Eight bands that a telephone passes, too, so that a copy at 8 kHz looks the same.
_EDGES_HZ = np.geomspace(150.0, 3400.0, 9)
_FRAME_S, _HOP_S = 0.04, 0.02
_MAX_LAG = 4  # frames by which a copy may begin or end elsewhere
_MIN_FRAMES = 10
# Of EMO-DB's 142,845 pairs none correlates by more than 0.86, though speakers repeat
# sentences; copies at another gain or rate, trimmed by up to 30 ms, by 0.91 or more.
_CORRELATION = 0.9
_BLOCK = 1000  # frames at once, against the memory of an hour
_RADIUS = 0.7  # within which copies' statistics lie; prunes the pairs to compare


class Sketch(NamedTuple):
    """What is kept of a recording to compare it with others."""

    digest: str  # of samples and rate
    envelope: np.ndarray  # float16 [n, 8], log energies of bands every 20 ms


def sketch(samples: np.ndarray, rate_hz: int) -> Sketch:
    """The sketch of decoded samples, float32 [n]."""
    size, hop = round(_FRAME_S * rate_hz), round(_HOP_S * rate_hz)
    padded = np.pad(samples, (0, max(0, size - len(samples))))
    frames = np.lib.stride_tricks.sliding_window_view(padded, size)[::hop]
    blocks = range(0, len(frames), _BLOCK)
    bands = [_band_energies(frames[at : at + _BLOCK], rate_hz) for at in blocks]
    bands = np.concatenate(bands)
    # Relative to the loudest: a gain cancels, and pauses stay finite.
    bands /= bands.max() or 1.0
    envelope = np.log(bands + 1e-8).astype(np.float16)
    return Sketch(sound_digest(samples, rate_hz), envelope)


def sound_digest(samples: np.ndarray, rate_hz: int) -> str:
    """32 hex digits that change with the samples, float32 [n], or the rate."""
    digest = hashlib.blake2b(f"{rate_hz}:".encode(), digest_size=16)
    digest.update(np.ascontiguousarray(samples, np.float32))
    return digest.hexdigest()


def joint_digest(sound_digests: Iterable[str]) -> str:
    """16 hex digits that change with any of several `sound_digest`s, or their order."""
    return hashlib.sha256(" ".join(sound_digests).encode()).hexdigest()[:16]


def _band_energies(frames: np.ndarray, rate_hz: int) -> np.ndarray:
    """float64 [n, 8] of frames [n, size]; 0 in bands that a low rate does not have."""
    size = frames.shape[1]
    power = np.abs(np.fft.rfft(frames * np.hanning(size).astype(np.float32))) ** 2
    bins_hz = np.fft.rfftfreq(size, 1 / rate_hz)
    bands = np.zeros((len(frames), len(_EDGES_HZ) - 1))
    for band, (low, high) in enumerate(itertools.pairwise(_EDGES_HZ)):
        inside = (low <= bins_hz) & (bins_hz < high)
        if inside.any():
            bands[:, band] = power[:, inside].mean(axis=1)
    return bands


def find_near_duplicates(sketches: Mapping[str, Sketch]) -> list[tuple[str, ...]]:
    """Groups of ids that probably hold the same take: other gain, rate or ends.

    Groups and ids are sorted. Of recordings that are equal only the first counts.
    """
    first: dict[str, str] = {}
    for name, item in sorted(sketches.items()):
        if len(item.envelope) >= _MIN_FRAMES and np.ptp(item.envelope) > 0:
            first.setdefault(item.digest, name)
    names = [*first.values()]
    if len(names) < 2:
        return []
    envelopes = [sketches[name].envelope for name in names]
    statistics = [_statistics(x) for x in envelopes]
    tree = scipy.spatial.KDTree(statistics)
    groups = [{i} for i in range(len(names))]  # each recording's own, shared by members
    for i, point in enumerate(statistics):
        # One recording after the other: all pairs may not fit into memory.
        for j in tree.query_ball_point(point, _RADIUS):
            if j >= i or groups[i] is groups[j]:
                continue
            if _correlation(envelopes[i], envelopes[j]) > _CORRELATION:
                groups[i] |= groups[j]
                for member in groups[j]:
                    groups[member] = groups[i]
    shared = {id(group): sorted(group) for group in groups if len(group) > 1}
    return sorted(tuple(names[i] for i in group) for group in shared.values())


def _statistics(envelope: np.ndarray) -> np.ndarray:
    envelope = envelope.astype(np.float32)
    mean = envelope.mean(axis=0)
    frames = len(envelope) * _RADIUS / (_MAX_LAG + 1)
    return np.array([frames, *envelope.std(axis=0), *(mean - mean.mean()) / 2])


def _correlation(a: np.ndarray, b: np.ndarray) -> float:
    """The largest of two envelopes, [n, 8] and [m, 8], over small shifts."""
    a, b, best = a.astype(np.float32), b.astype(np.float32), 0.0
    for lag in range(-_MAX_LAG, _MAX_LAG + 1):
        x, y = a[max(0, lag) :], b[max(0, -lag) :]
        size = min(len(x), len(y))
        x = x[:size] - x[:size].mean(axis=0)
        y = y[:size] - y[:size].mean(axis=0)
        scale = np.sqrt(np.square(x).sum() * np.square(y).sum())
        best = max(best, float((x * y).sum() / (scale or 1.0)))
    return best
