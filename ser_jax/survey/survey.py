"""A look at a corpus before training: every recording is read once. No JAX."""

import collections
import dataclasses
import math
from collections.abc import Mapping, Sequence
from types import SimpleNamespace
from typing import NamedTuple

import joblib
from tqdm import tqdm

from ser_jax.corpora.source import Source
from ser_jax.corpora.utterance import Exclusion, Utterance
from ser_jax.data import duplicates, spellings
from ser_jax.datasets import sketches
from ser_jax.errors import InputError
from ser_jax.features import audio
from ser_jax.features.signal_quality import SignalQuality

MIN_DURATION_S = 0.1  # the default of `data.min_duration_s`
# Of `spellings.find`: what training says unless it is told otherwise.
_SPELLINGS = SimpleNamespace(merge_spellings=False, label_map=None, corpus="")


class Recording(NamedTuple):
    """What is measured of a recording that training can use."""

    seconds: float
    rate_hz: int  # of the file
    channels: int
    peak: float  # of the mean of the channels; 1 = full scale
    warnings: tuple[str, ...]  # as `predict` gives them, `kind: what was measured`
    header: str  # what is odd about the header


@dataclasses.dataclass(frozen=True)
class Survey:
    """All that is known of a corpus without a model."""

    source: Source
    utterances: tuple[Utterance, ...]  # those that training can use
    recordings: Mapping[str, Recording]  # by id
    excluded: tuple[Exclusion, ...]  # by the reader, and unusable recordings
    equal: Sequence[tuple[str, ...]]  # ids of recordings with the same samples
    near_duplicates: Sequence[tuple[str, ...]]  # ids of what is probably one take
    spellings: Sequence[spellings.Spellings]

    def counts(self) -> dict[tuple[str, str], collections.Counter]:
        """(Speaker, gender) -> class -> number; speakers sorted."""
        table = collections.defaultdict(collections.Counter)
        for u in self.utterances:
            table[u.speaker, u.gender][u.emotion] += 1
        return dict(sorted(table.items(), key=lambda item: _natural(item[0])))

    def speakers(self) -> collections.Counter:
        """Speaker -> number; recordings of unknown speakers are not counted."""
        return collections.Counter(u.speaker for u in self.utterances if u.speaker)

    def classes(self) -> list[str]:
        """All labels, in the published order where there is one, then by name."""
        found = {u.emotion for u in self.utterances}
        published = self.source.published
        return [*published, *sorted(found - published.keys())]

    def seconds(self) -> list[float]:
        """Durations, sorted."""
        return sorted(recording.seconds for recording in self.recordings.values())


def look(source: Source) -> Survey:
    """Reads every recording of a corpus.

    Raises:
      InputError: Not one can be used.
    """
    # Threads: reading files waits for the disk, and libsndfile and FFTs free the GIL.
    jobs = joblib.Parallel(n_jobs=-1, prefer="threads", return_as="generator")
    results = jobs(joblib.delayed(_measure)(u) for u in source.utterances)
    total = len(source.utterances)
    shown = tqdm(results, "reading", total, unit="file", delay=1, leave=False)
    measured, found_sketches, excluded = {}, {}, [*source.excluded]
    for utterance, result in zip(source.utterances, shown, strict=True):
        if isinstance(result, Exclusion):
            excluded.append(result)
        else:
            measured[utterance.id], found_sketches[utterance.id] = result
    if not measured:
        first = excluded[-1]
        raise InputError(
            f"Expected at least one recording of {source.title} that can be used, got "
            f"none of {total}; {first.id}: {first.reason}, {first.detail}."
        )
    usable = tuple(u for u in source.utterances if u.id in measured)
    return Survey(
        source=source,
        utterances=usable,
        recordings=measured,
        excluded=tuple(excluded),
        equal=duplicates.find(usable, [found_sketches[u.id].digest for u in usable]),
        near_duplicates=sketches.find_near_duplicates(found_sketches),
        spellings=spellings.find(usable, _SPELLINGS),
    )


def _measure(
    utterance: Utterance,
) -> tuple[Recording, sketches.Sketch] | Exclusion:
    """What training would leave out is an Exclusion, for the same reason."""
    try:
        # Opened by itself: `read` returns the mean of the channels.
        with audio.open_recording(utterance.wav) as file:
            channels = file.channels
        samples, rate_hz = audio.read(utterance.wav, MIN_DURATION_S)
        audio.check_sound(samples)
    except audio.AudioError as error:
        return Exclusion(utterance.id, error.reason, error.detail)
    quality = SignalQuality(rate_hz)
    quality.add(samples)
    recording = Recording(
        seconds=len(samples) / rate_hz,
        rate_hz=rate_hz,
        channels=channels,
        peak=quality.peak,
        warnings=quality.warnings(distance=math.nan),
        header=audio.header_note(utterance.wav),
    )
    return recording, sketches.sketch(samples, rate_hz)


def _natural(key: tuple[str, str]) -> tuple:
    """Speaker 9 before speaker 10, and numbers before names."""
    speaker, gender = key
    is_number = speaker.isdecimal()
    return (not is_number, int(speaker) if is_number else 0, speaker, gender)
