"""The vectors that the baseline reads: computed once per corpus, and kept."""

import functools
import hashlib
import importlib.metadata
import importlib.util
import io
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import joblib
import numpy as np
from tqdm import tqdm

from ser_jax.corpora.utterance import Utterance
from ser_jax.datasets import build, file_digests, sketches
from ser_jax.errors import InputError, writing
from ser_jax.features import audio, functionals
from ser_jax.workdir import files

OURS = "functionals"
_OPENSMILE = {"compare": "ComParE_2016", "egemaps": "eGeMAPSv02"}
SETS = (OURS, *_OPENSMILE)
_VERSION = 1  # of our functionals; increase it when a number changes
_SETTING = "--config.data.cache_dir or TFDS_DATA_DIR"
_log = logging.getLogger(__name__)


class Vectors(NamedTuple):
    """One vector per recording."""

    values: np.ndarray  # float64 [U, D]; NaN = unknown
    sounds: str  # `sketches.joint_digest` of what was heard


def check(name: str) -> None:
    """Raises InputError if there is no such set, or its package is missing."""
    if name not in SETS:
        raise InputError(
            f"--features: expected one of {', '.join(SETS)}; got {name!r}."
        )
    if name in _OPENSMILE and importlib.util.find_spec("opensmile") is None:
        raise InputError(
            f"--features={name}: expected the package opensmile, whose licence is for "
            "non-commercial research; got none. Run `pip install -e '.[opensmile]'`."
        )


def describe(name: str) -> str:
    """The set in words, with version and licence."""
    if name == OURS:
        return "functionals of cepstra, energy and pitch (features/functionals.py)"
    version = importlib.metadata.version("opensmile")
    return (
        f"openSMILE {version} {_OPENSMILE[name]} (audEERING Research License: "
        "non-commercial research)"
    )


def load(name: str, utterances: Sequence[Utterance], data) -> Vectors:
    """The vectors of recordings, in their order.

    Kept under a name that changes with any file's content, in `data.cache_dir` or
    beside the datasets.

    Raises:
      InputError: A recording cannot be read, or the folder cannot be written to.
    """
    if name in _OPENSMILE:
        _log.info("%s", describe(name))
    path = _cache(name, utterances, data)
    try:
        with np.load(path) as kept:
            return Vectors(kept["values"], str(kept["sounds"]))
    except (OSError, ValueError, KeyError, EOFError):  # absent or damaged
        pass
    vectors = _compute(name, utterances, data.num_workers)
    content = io.BytesIO()
    np.savez(content, **vectors._asdict())
    with writing(path.parent, _SETTING):
        path.parent.mkdir(parents=True, exist_ok=True)
    files.write_atomically(path, content.getvalue())
    return vectors


def _cache(name: str, utterances: Sequence[Utterance], data) -> Path:
    folder = build.datasets_folder(data)
    place = data.manifest or data.root or data.corpus
    wavs = [utterance.wav for utterance in utterances]
    # A journal of its own: it would forget what else a dataset has.
    digests = file_digests.file_digests(wavs, f"{place}.{OURS}", folder)
    content = hashlib.sha256("\n".join(digests).encode()).hexdigest()[:16]
    version = _VERSION
    if name in _OPENSMILE:
        version = importlib.metadata.version("opensmile")
    root = Path(data.cache_dir or folder).expanduser()
    return root / OURS / f"{name}{version}_{content}.npz"


def _compute(name: str, utterances: Sequence[Utterance], num_workers: int) -> Vectors:
    # FFTs and percentiles release the GIL; openSMILE's handles are made for one thread.
    prefer = "processes" if name in _OPENSMILE else "threads"
    found = joblib.Parallel(
        num_workers or joblib.cpu_count(), prefer=prefer, return_as="generator"
    )(joblib.delayed(_vector)(name, utterance.wav) for utterance in utterances)
    bar = tqdm(found, f"Baseline: {name}", len(utterances), unit="utt", delay=2)
    values, digests = zip(*bar, strict=True)
    return Vectors(np.stack(values), sketches.joint_digest(digests))


def _vector(name: str, wav: str) -> tuple[np.ndarray, str]:
    try:
        samples, rate_hz = audio.read(wav)
    except audio.AudioError as error:
        raise InputError(
            f"expected the recording that was trained or tested on, got {wav}: {error}. "
            "Restore it, or set --data=... if the corpus has moved."
        ) from error
    digest = sketches.sound_digest(samples, rate_hz)
    heard = np.concatenate([*audio.resample([samples], rate_hz, functionals.RATE_HZ)])
    if name in _OPENSMILE:
        return _smile(name).process_signal(heard, functionals.RATE_HZ).values[0], digest
    return functionals.functionals(heard), digest


@functools.cache
def _smile(name: str):
    import opensmile

    return opensmile.Smile(
        feature_set=opensmile.FeatureSet[_OPENSMILE[name]],
        feature_level=opensmile.FeatureLevel.Functionals,
    )
