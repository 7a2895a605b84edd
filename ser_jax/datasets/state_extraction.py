"""Hidden states of a whole corpus, kept in parts that outlive a killed build."""

import hashlib
import io
import itertools
import logging
import shutil
import uuid
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path

import joblib
import numpy as np

from ser_jax.corpora.utterance import Utterance
from ser_jax.datasets import extraction
from ser_jax.errors import InputError, writing
from ser_jax.features import audio, vtlp

PART = 32  # recordings that are kept, or lost by a kill, together
_FOLDER = "encoded"  # beside the datasets
_SETTING = "--config.data.tfds_dir"
_log = logging.getLogger(__name__)


class StateExtraction:
    """Encodes recordings part by part; what a killed build had encoded is read back."""

    def __init__(self, config, root: Path | None):
        """Loads the encoder, or raises InputError; arguments as for `announce`."""
        from ser_jax.features import hidden_states  # JAX, which no other recipe needs

        self._spec = config.states
        self._config = config
        self._folder = _folder(config, root)
        self._encode = hidden_states.StateReader(config.states)

    def __call__(
        self, utterances: list[Utterance], sound_digests: Mapping[str, str]
    ) -> Iterator[tuple[Utterance, dict[str, np.ndarray]]]:
        """Yields utterances, in order, each with `log_mel` [T, F, C] and `num_samples`.

        With V copies, which are at other speeds, also `vtlp` [V, T, F, C] and
        `warp_factors` [V]. `sound_digests` are those of `extraction.Checked`.
        """
        for at in range(0, len(utterances), PART):
            part = utterances[at : at + PART]
            # With their names, of which the copies' speeds are made.
            digests = "".join(f"{u.id}\t{sound_digests[u.id]}\n" for u in part)
            name = hashlib.sha256(digests.encode()).hexdigest()[:16]
            stored = self._read(name)
            if stored is None:
                stored = self._encoded(part)
                self._write(name, stored)
            for utterance, frames, length in zip(part, *stored, strict=True):
                values = {"log_mel": frames[0], "num_samples": int(length)}
                if len(frames) > 1:
                    factors = self._factors(utterance)
                    values |= {"vtlp": frames[1:], "warp_factors": factors}
                yield utterance, values

    def _factors(self, utterance: Utterance) -> np.ndarray:
        config = self._config
        limits = config.vtlp_low, config.vtlp_high
        return vtlp.warp_factors(utterance.id, config.vtlp_copies, *limits)

    def _encoded(self, part: list[Utterance]):
        """Per recording frames [1 + V, T, F, C], and lengths in samples."""

        def load(utterance: Utterance) -> np.ndarray:
            try:
                rate_hz = self._spec.sample_rate_hz
                return audio.load(utterance.wav, rate_hz, self._config.min_duration_s)
            except audio.AudioError as error:
                raise extraction.changed(utterance, error) from error

        # Threads: reading files waits for the disk and libsndfile frees the GIL.
        recordings = joblib.Parallel(n_jobs=-1, prefer="threads")(
            joblib.delayed(load)(utterance) for utterance in part
        )
        factors = [[1.0, *self._factors(utterance).tolist()] for utterance in part]
        num = 1 + self._config.vtlp_copies
        states = self._encode(
            [samples for samples in recordings for _ in range(num)],
            list(itertools.chain.from_iterable(factors)),
        )
        stacked = [np.stack(states[i : i + num]) for i in range(0, len(states), num)]
        return stacked, np.array([len(x) for x in recordings])

    def _read(self, name: str):
        """What `_encoded` gave of a part; None if it is not there."""
        if self._folder is None:
            return None
        try:
            with np.load(self._folder / f"{name}.npz") as file:
                lengths, flat = file["num_samples"], file["frames"]
        except (OSError, ValueError, KeyError, zipfile.BadZipFile):  # absent, cut short
            return None
        ends = itertools.accumulate(self._spec.num_frames(lengths).tolist())
        return np.split(flat, [*ends][:-1], axis=1), lengths

    def _write(self, name: str, stored) -> None:
        if self._folder is None:
            return
        states, lengths = stored
        content = io.BytesIO()
        np.savez(content, frames=np.concatenate(states, axis=1), num_samples=lengths)
        path = self._folder / f"{name}.npz"
        with writing(path, _SETTING):
            self._folder.mkdir(parents=True, exist_ok=True)
            # Workers of Beam may encode one part twice, at the same time.
            unfinished = path.with_suffix(f".{uuid.uuid4().hex}.incomplete")
            unfinished.write_bytes(content.getbuffer())
            unfinished.rename(path)


def announce(checked: extraction.Checked, config, root: Path | None) -> None:
    """Says how much will be written.

    Args:
      checked: The corpus.
      config: A `SpeechConfig` with `states`.
      root: Folder of datasets; None = keep nothing, as where files lie elsewhere.

    Raises:
      InputError: The disk is too small.
    """
    spec, num_samples = config.states, np.array([*checked.num_samples.values()])
    frames = int(spec.num_frames(num_samples).sum()) * (1 + config.vtlp_copies)
    size = frames * spec.num_bands * spec.num_channels * np.dtype(spec.dtype).itemsize
    hours = num_samples.sum() / spec.sample_rate_hz / 3600
    _log.info(
        "%s: %d layers of %d recordings, %.1f h, take %.2f GB, and as much again "
        "where they are cached for reading.",
        *(spec.encoder.name, len(spec.layers), len(num_samples), hours, size / 1e9),
    )
    above = (root, *root.parents) if root else ()
    there = next((folder for folder in above if folder.exists()), None)
    parts = _folder(config, root).glob("*.npz") if root else ()
    needed = 2 * size - sum(path.stat().st_size for path in parts)
    if there and (free := shutil.disk_usage(there).free) < needed:
        raise InputError(
            f"{root}: expected {needed / 1e9:.1f} GB of free space for hidden "
            f"states, got {free / 1e9:.1f}. Take fewer --config.encoder.layers or a "
            f"longer --config.encoder.pool_s, or set {_SETTING}."
        )


def remove_parts(config, root: Path | None) -> None:
    """Removes what was kept, which the dataset has now; arguments as for `announce`."""
    if root:
        shutil.rmtree(_folder(config, root), ignore_errors=True)


def _folder(config, root: Path | None) -> Path | None:
    return root and root / _FOLDER / config.name
