"""From recordings to features: which recordings are usable, and their features."""

import collections
import concurrent.futures
import itertools
import logging
from collections.abc import Iterator

import joblib
import numpy as np
from joblib.externals import loky

from ser_jax.corpora.utterance import Exclusion, Utterance
from ser_jax.errors import InputError
from ser_jax.features import audio

# Utterances in flight per worker: bounds memory, keeps the workers busy.
_IN_FLIGHT_PER_WORKER = 8


def check_recordings(
    utterances: list[Utterance], config, excluded: list[Exclusion]
) -> tuple[list[Utterance], int]:
    """Reads every recording once: which are usable, and how many need resampling.

    Sessions without a usable recording must be known before their split is opened.
    Unusable recordings are appended to `excluded`; `config` is a `SpeechConfig`.
    """

    def rate_or_exclusion(utterance: Utterance) -> int | Exclusion:
        try:
            _, rate_hz = audio.read(utterance.wav, config.min_duration_s)
        except audio.AudioError as error:
            return Exclusion(utterance.id, error.reason, error.detail)
        return rate_hz

    # Threads: reading files waits for the disk and libsndfile frees the GIL.
    results = joblib.Parallel(n_jobs=-1, prefer="threads")(
        joblib.delayed(rate_or_exclusion)(utterance) for utterance in utterances
    )
    usable, resampled = [], 0
    for utterance, result in zip(utterances, results, strict=True):
        if isinstance(result, Exclusion):
            excluded.append(result)
        else:
            usable.append(utterance)
            resampled += result != config.spec.sample_rate_hz
    counts = collections.Counter(exclusion.reason for exclusion in excluded)
    reasons = ", ".join(f"{reason} {n}" for reason, n in sorted(counts.items()))
    if not usable:
        first = excluded[0]  # readers refuse a corpus without any utterance
        raise InputError(
            f"expected at least one usable recording, got none of {len(excluded)} "
            f"({reasons}; first: {first.id}: {first.detail}). Check the corpus's "
            "files and --config.data.min_duration_s."
        )
    if excluded:
        message = "%d recordings are left out: %s"
        logging.getLogger(__name__).warning(message, len(excluded), reasons)
    return usable, resampled


def extract(
    utterances: list[Utterance], config, num_workers: int
) -> Iterator[tuple[Utterance, dict[str, np.ndarray]]]:
    """Yields utterances, in order, each with its `vtlp.recording_features`.

    On `num_workers` cores (0 = all), in bounded memory.
    """
    from ser_jax.features import vtlp  # librosa, which a built dataset does not need

    def submit(utterance: Utterance):
        factors = vtlp.warp_factors(
            utterance.id, config.vtlp_copies, config.vtlp_low, config.vtlp_high
        )
        return utterance, executor.submit(
            vtlp.recording_features,
            utterance.wav,
            config.spec,
            factors,
            config.vtlp_mode,
            config.min_duration_s,
            config.samples,
        )

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
            yield utterance, job.result()
            in_flight.extend(itertools.islice(jobs, 1))
    finally:
        for _, job in in_flight:
            job.cancel()
