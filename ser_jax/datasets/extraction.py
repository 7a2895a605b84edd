"""From recordings to features: which recordings are usable, and their features."""

import collections
import concurrent.futures
import itertools
import logging
from collections.abc import Iterator
from typing import NamedTuple

import joblib
import numpy as np
from joblib.externals import loky

from ser_jax.corpora.utterance import Exclusion, Utterance
from ser_jax.datasets import sketches
from ser_jax.errors import InputError
from ser_jax.features import audio
from ser_jax.features.recipe import WaveformSpec

# Utterances in flight per worker: bounds memory, keeps the workers busy.
_IN_FLIGHT_PER_WORKER = 8
_log = logging.getLogger(__name__)


class Checked(NamedTuple):
    """What is known of a corpus once every recording was read."""

    usable: list[Utterance]
    num_samples: dict[str, int]  # by id, at the recipe's rate
    resampled: int  # usable recordings at another rate than the recipe's
    sound_digests: dict[str, str]  # by id, a digest of the samples
    near_duplicates: list[tuple[str, ...]]  # ids of what is probably one take
    lost: list[str]  # emotions and speakers of which no recording is usable


class Reading(NamedTuple):
    """What is known of one recording once it was read."""

    num_samples: int
    rate_hz: int
    sketch: sketches.Sketch
    note: str  # on the header


def read(utterance: Utterance, config) -> Reading | Exclusion:
    """Reads one recording, or says why it is left out; `config` is a `SpeechConfig`."""
    try:
        samples, rate_hz = audio.read(utterance.wav, config.min_duration_s)
        if not config.keep_silent:
            audio.check_sound(samples)
    except audio.AudioError as error:
        return Exclusion(utterance.id, error.reason, error.detail)
    sketch = sketches.sketch(samples, rate_hz)
    note = audio.header_note(utterance.wav)
    return Reading(len(samples), rate_hz, sketch, note)


def read_all(utterances: list[Utterance], config) -> list[Reading | Exclusion]:
    """What `read` gives of each, on all cores."""
    # Threads: reading files waits for the disk and libsndfile frees the GIL.
    return joblib.Parallel(n_jobs=-1, prefer="threads")(
        joblib.delayed(read)(utterance, config) for utterance in utterances
    )


def check_recordings(
    utterances: list[Utterance],
    readings: list[Reading | Exclusion],
    config,
    excluded: list[Exclusion],
) -> Checked:
    """What is known once every recording was read, before anything is written.

    Sessions without a usable recording must be known before their split is opened.
    Unusable recordings are appended to `excluded`; `config` is a `SpeechConfig`.
    """
    found = {}
    for utterance, result in zip(utterances, readings, strict=True):
        if isinstance(result, Exclusion):
            excluded.append(result)
        else:
            found[utterance.id] = result
    if not found:
        first = excluded[0]  # readers refuse a corpus without any utterance
        raise InputError(
            f"expected at least one usable recording, got none of {len(excluded)} "
            f"({_reasons(excluded)}; first: {first.id}: {first.detail}). Check the "
            "corpus's files, data.min_duration_s and data.keep_silent."
        )
    usable = [utterance for utterance in utterances if utterance.id in found]
    sketch_of = {name: x.sketch for name, x in found.items()}
    _report(excluded, {name: x.note for name, x in found.items() if x.note})
    target_hz = config.spec.sample_rate_hz
    return Checked(
        usable=usable,
        num_samples={
            name: -(-x.num_samples * target_hz // x.rate_hz)
            for name, x in found.items()
        },
        resampled=sum(x.rate_hz != target_hz for x in found.values()),
        sound_digests={name: sketch.digest for name, sketch in sketch_of.items()},
        near_duplicates=sketches.find_near_duplicates(sketch_of),
        lost=sorted(_labels_and_speakers(utterances) - _labels_and_speakers(usable)),
    )


def _labels_and_speakers(utterances: list[Utterance]) -> set[str]:
    columns = ("emotion", "speaker")
    return {f"{name} {getattr(u, name)}" for u in utterances for name in columns}


def _report(excluded: list[Exclusion], notes: dict[str, str]) -> None:
    if excluded:
        _log.warning(
            "%d recordings are left out: %s", len(excluded), _reasons(excluded)
        )
    if notes:
        name, note = next(iter(notes.items()))
        _log.warning(
            "%d recordings have unusual headers, first %s: %s", len(notes), name, note
        )


def _reasons(excluded: list[Exclusion]) -> str:
    counts = collections.Counter(exclusion.reason for exclusion in excluded)
    return ", ".join(f"{reason} {n}" for reason, n in sorted(counts.items()))


def extract(
    utterances: list[Utterance], config, num_workers: int
) -> Iterator[tuple[Utterance, dict[str, np.ndarray]]]:
    """Yields utterances, in order, each with its `vtlp.recording_features`.

    On `num_workers` cores (0 = all), in bounded memory.
    """

    def submit(utterance: Utterance):
        return utterance, executor.submit(*_work(utterance, config))

    num_workers = num_workers or joblib.cpu_count()
    # FFT, filterbanks and logarithms release the GIL, and sending features from process
    # to process takes longer than computing them. librosa's part of nlpaug holds it.
    if config.vtlp_copies and config.vtlp_mode == "nlpaug":
        executor = loky.get_reusable_executor(num_workers)
    else:
        executor = concurrent.futures.ThreadPoolExecutor(num_workers, "features")
    jobs = map(submit, utterances)
    most = _IN_FLIGHT_PER_WORKER * num_workers
    in_flight = collections.deque(itertools.islice(jobs, most))
    try:
        while in_flight:
            utterance, job = in_flight.popleft()
            try:
                features = job.result()
            except audio.AudioError as error:
                raise changed(utterance, error) from error
            yield utterance, features
            in_flight.extend(itertools.islice(jobs, 1))
    finally:
        for _, job in in_flight:
            job.cancel()


def extract_one(utterance: Utterance, config) -> dict[str, np.ndarray]:
    """The same of one recording, in this thread."""
    function, *arguments = _work(utterance, config)
    try:
        return function(*arguments)
    except audio.AudioError as error:
        raise changed(utterance, error) from error


def changed(utterance: Utterance, error: audio.AudioError) -> InputError:
    """The error of a recording that was usable when it was read before."""
    return InputError(
        f"expected {utterance.wav} to stay as it was when the build began; got {error}. "
        "Repeat the command."
    )


def _work(utterance: Utterance, config) -> tuple:
    """What makes the features of a recording, and its arguments."""
    from ser_jax.features import vtlp  # librosa, which a built dataset does not need

    if isinstance(config.spec, WaveformSpec):
        return _samples, utterance, config
    factors = vtlp.warp_factors(
        utterance.id, config.vtlp_copies, config.vtlp_low, config.vtlp_high
    )
    return (
        vtlp.recording_features,
        utterance.wav,
        config.spec,
        factors,
        config.vtlp_mode,
        config.min_duration_s,
        config.samples,
        config.level == "unit",
    )


def _samples(utterance: Utterance, config) -> dict[str, np.ndarray]:
    """What is stored of a recording whose frames are its samples."""
    spec = config.spec
    samples = audio.load(utterance.wav, spec.sample_rate_hz, config.min_duration_s)
    return {"log_mel": spec.frames(samples), "num_samples": samples.size}
