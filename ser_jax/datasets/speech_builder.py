"""What all speech-emotion datasets share: recordings in, features and labels out."""

import abc
import collections
import concurrent.futures
import contextlib
import dataclasses
import hashlib
import itertools
import json
import logging
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import ClassVar

import joblib
import numpy as np
import tensorflow_datasets as tfds
from joblib.externals import loky
from tqdm import tqdm

from ser_jax.corpora.utterance import Exclusion, Utterance
from ser_jax.datasets import transcription
from ser_jax.errors import InputError
from ser_jax.features import audio
from ser_jax.features.spec import RECIPES, FeatureSpec

# Utterances in flight per worker: bounds memory, keeps the workers busy.
_IN_FLIGHT_PER_WORKER = 8

_FLOATS = ("start_s", "end_s", "valence", "activation", "dominance")


@dataclasses.dataclass(eq=False)
class SpeechConfig(tfds.core.BuilderConfig):
    """Which features are stored; every value but the defaults shows in the name.

    Attributes:
      name: Made by `config_name`; do not pass it.
      recipe: Key of `ser_jax.features.spec.RECIPES`.
      vtlp_copies: Perturbed copies V per utterance.
      vtlp_mode: `textbook` or `nlpaug`.
      vtlp_low: Smallest warp factor.
      vtlp_high: Largest warp factor.
      min_duration_s: Shorter recordings are excluded and listed.
      recognizer: Key of `transcription.RECOGNIZERS`, whose text is stored; empty = none.
      samples: Whether the samples are stored too, int16 at the recipe's rate.
    """

    name: str = ""
    recipe: str = "logmel128"
    vtlp_copies: int = 0
    vtlp_mode: str = "textbook"
    vtlp_low: float = 0.8
    vtlp_high: float = 1.2
    min_duration_s: float = 0.1
    recognizer: str = ""
    samples: bool = False

    def __post_init__(self):
        self.name = self.name or config_name(self)

    @property
    def spec(self) -> FeatureSpec:
        return RECIPES[self.recipe]


def config_name(config: SpeechConfig) -> str:
    """`logmel128_vtlp7`, `logmel128_nlpaug7`, `logmel40_3d`, ...; no two the same."""
    parts = [config.recipe]
    if config.vtlp_copies:
        kind = "vtlp" if config.vtlp_mode == "textbook" else config.vtlp_mode
        parts.append(f"{kind}{config.vtlp_copies}")
        if (config.vtlp_low, config.vtlp_high) != (0.8, 1.2):
            parts.append(f"{config.vtlp_low:g}to{config.vtlp_high:g}")
    if config.min_duration_s != 0.1:
        parts.append(f"min{config.min_duration_s:g}s")
    if config.recognizer:
        parts.append(config.recognizer)
    if config.samples:
        parts.append("samples")
    return "_".join(parts)


class SpeechBuilder(tfds.core.GeneratorBasedBuilder, abc.ABC, skip_registration=True):
    """Base builder; a subclass only says where its Utterances come from.

    Splits are the corpus's sessions; all utterances and all labels are stored and
    filtered when reading. Works without TensorFlow in the format `array_record`.
    """

    def __init__(self, *, num_workers: int = 0, strict: bool = True, **kwargs):
        """Creates the builder.

        Args:
          num_workers: Threads (`nlpaug` copies: processes); 0 = all cores.
          strict: Whether a full release must have its published counts.
          **kwargs: For `tfds.core.DatasetBuilder`.
        """
        self._num_workers = num_workers
        self._strict = strict
        super().__init__(**kwargs)

    DESCRIPTION: ClassVar[str]

    def _info(self) -> tfds.core.DatasetInfo:
        return tfds.core.DatasetInfo(
            builder=self,
            description=self.DESCRIPTION,
            features=features_dict(self.builder_config),
            metadata=tfds.core.MetadataDict(),
        )

    @abc.abstractmethod
    def _read(
        self, manual_dir: str | None, excluded: list[Exclusion]
    ) -> Iterable[Utterance]:
        """Reads the corpus; leaves the reasons for omissions in `excluded`."""

    @abc.abstractmethod
    def _fingerprint(self, manual_dir: str | None) -> str:
        """Changes when the corpus changes."""

    def _split_generators(self, dl_manager):
        # Asking for the manual folder is an error where there is none.
        needs_folder = self.MANUAL_DOWNLOAD_INSTRUCTIONS is not None
        manual_dir = str(dl_manager.manual_dir) if needs_folder else None
        excluded: list[Exclusion] = []
        utterances = list(self._read(manual_dir, excluded))
        config = self.builder_config
        usable, resampled = _usable(utterances, config, excluded)
        self._heard, asr = self._recognize(usable)
        self.info.metadata.update(
            spec=dataclasses.asdict(config.spec),
            vtlp={
                "mode": config.vtlp_mode,
                "low": config.vtlp_low,
                "high": config.vtlp_high,
            },
            fingerprint=self._fingerprint(manual_dir),
            resampled=resampled,
            excluded=[dataclasses.asdict(e) for e in excluded],
            asr=asr,
        )
        sessions: dict[str, list[Utterance]] = {}
        for utterance in usable:
            sessions.setdefault(utterance.session, []).append(utterance)
        self._bar = tqdm(total=len(usable), desc=f"Building {config.name}", unit="utt")
        return {
            session: self._generate_examples(sessions[session])
            for session in sorted(sessions)
        }

    def _recognize(self, utterances: list[Utterance]) -> tuple[dict[str, str], dict]:
        """Text by utterance id and its metadata; both empty without a recognizer.

        Before any split is opened: TFDS throws an unfinished dataset away, and the texts,
        which take far longer than the features, must outlive it.
        """
        name = self.builder_config.recognizer
        if not name:
            return {}, {}
        remote = "://" in str(self._data_dir_root)
        folder = None if remote else Path(self._data_dir_root) / "recognized"
        return transcription.transcribe(utterances, name, folder, self._num_workers)

    def _generate_examples(self, utterances):
        config = self.builder_config
        for utterance, features in _extract(utterances, config, self._num_workers):
            if config.recognizer:
                features["asr_text"] = self._heard[utterance.id]
            yield utterance.id, _example(utterance, features)
            self._bar.update()

    def _download_and_prepare(self, *args, **kwargs):
        self._bar = None
        try:
            with _quiet_tfds():
                super()._download_and_prepare(*args, **kwargs)
        finally:
            if self._bar is not None:
                self._bar.close()


@contextlib.contextmanager
def _quiet_tfds() -> Iterator[None]:
    """One bar over all utterances in place of TFDS's four bars per session."""
    tfds.display_progress_bar(False)
    try:
        yield
    finally:
        tfds.display_progress_bar(True)


def features_dict(config: SpeechConfig) -> tfds.features.FeaturesDict:
    """What an example holds: labels, features and, if V > 0, VTLP copies."""
    shape = (config.spec.num_bands, config.spec.num_channels)
    # Bytes, not protobuf floats: read back without a Python loop over numbers.
    tensor = {"dtype": np.float32, "encoding": tfds.features.Encoding.BYTES}
    features = {
        field.name: tfds.features.Scalar(np.float32)
        if field.name in _FLOATS
        else tfds.features.Text()
        for field in dataclasses.fields(Utterance)
    }
    features |= {
        "rater_labels": tfds.features.Sequence(tfds.features.Text()),
        "extra": tfds.features.Text(doc="Further manifest columns, a JSON object."),
        "num_samples": tfds.features.Scalar(np.int64),
        # Named when log-mel was all there was; holds the recipe's features.
        "log_mel": tfds.features.Tensor(shape=(None, *shape), **tensor),
    }
    if config.recognizer:
        features["asr_text"] = tfds.features.Text()
    if config.samples:
        features |= {
            "samples": tfds.features.Tensor(
                shape=(None,), dtype=np.int16, encoding=tfds.features.Encoding.BYTES
            ),
            "log_peak": tfds.features.Scalar(np.float32),
        }
    if config.vtlp_copies:
        copies = config.vtlp_copies
        features |= {
            "vtlp": tfds.features.Tensor(shape=(copies, None, *shape), **tensor),
            "warp_factors": tfds.features.Tensor(shape=(copies,), dtype=np.float32),
        }
    return tfds.features.FeaturesDict(features)


def _example(utterance: Utterance, features: dict[str, np.ndarray]) -> dict:
    fields = dataclasses.asdict(utterance)
    fields["rater_labels"] = list(utterance.rater_labels)
    fields["extra"] = json.dumps(dict(utterance.extra), ensure_ascii=False)
    return fields | features


def _usable(
    utterances: list[Utterance], config: SpeechConfig, excluded: list[Exclusion]
) -> tuple[list[Utterance], int]:
    """Reads every recording once, before anything is written.

    Sessions without a usable recording must be known before their split is opened.

    Returns:
      (Utterances whose audio is sound, how many of them need resampling.)

    Raises:
      InputError: Nothing is left.
    """

    def problem(utterance: Utterance) -> Exclusion | int:
        try:
            _, rate_hz = audio.read(utterance.wav, config.min_duration_s)
        except audio.AudioError as error:
            return Exclusion(utterance.id, error.reason, error.detail)
        return rate_hz

    # Threads: reading files waits for the disk and libsndfile frees the GIL.
    answers = joblib.Parallel(n_jobs=-1, prefer="threads")(
        joblib.delayed(problem)(utterance) for utterance in utterances
    )
    excluded.extend(a for a in answers if isinstance(a, Exclusion))
    sound = [
        (utterance, answer)
        for utterance, answer in zip(utterances, answers, strict=True)
        if not isinstance(answer, Exclusion)
    ]
    if not sound:
        raise InputError(_nothing_left(excluded))
    if excluded:
        logging.getLogger(__name__).warning(
            "%d recordings are left out: %s", len(excluded), _counted(excluded)
        )
    resampled = sum(rate_hz != config.spec.sample_rate_hz for _, rate_hz in sound)
    return [utterance for utterance, _ in sound], resampled


def _counted(excluded: list[Exclusion]) -> str:
    counts: dict[str, int] = {}
    for exclusion in excluded:
        counts[exclusion.reason] = counts.get(exclusion.reason, 0) + 1
    return ", ".join(f"{reason} {n}" for reason, n in sorted(counts.items()))


def _nothing_left(excluded: list[Exclusion]) -> str:
    if not excluded:
        return "expected at least one utterance, got an empty corpus; check the path"
    first = excluded[0]
    return (
        f"expected at least one usable recording, got none of {len(excluded)} "
        f"({_counted(excluded)}; first: {first.id}: {first.detail}). Check the corpus's "
        "files and --config.data.min_duration_s."
    )


def _extract(
    utterances: list[Utterance], config: SpeechConfig, num_workers: int
) -> Iterator[tuple[Utterance, dict[str, np.ndarray]]]:
    """Features of utterances, in order, on all cores, in bounded memory."""
    # Imported here: a built dataset is opened without librosa.
    from ser_jax.features import vtlp

    def submit(utterance: Utterance):
        factors = vtlp.warp_factors(
            utterance.id, config.vtlp_copies, config.vtlp_low, config.vtlp_high
        )
        job = executor.submit(
            vtlp.recording_features,
            utterance.wav,
            config.spec,
            factors,
            config.vtlp_mode,
            config.min_duration_s,
            config.samples,
        )
        return utterance, job

    workers = num_workers or joblib.cpu_count()
    executor = _executor(config, workers)
    waiting = collections.deque()
    left = iter(utterances)
    try:
        while True:
            wanted = _IN_FLIGHT_PER_WORKER * workers - len(waiting)
            waiting.extend(submit(u) for u in itertools.islice(left, wanted))
            if not waiting:
                return
            utterance, job = waiting.popleft()
            yield utterance, job.result()
    finally:
        for _, job in waiting:
            job.cancel()


def _executor(config: SpeechConfig, workers: int) -> concurrent.futures.Executor:
    """Threads, unless copies are made by librosa.

    FFT, filterbanks and logarithms let go of the interpreter's lock, and sending
    features from process to process takes longer than making them.
    """
    if config.vtlp_copies and config.vtlp_mode == "nlpaug":
        return loky.get_reusable_executor(workers)
    return concurrent.futures.ThreadPoolExecutor(workers, "features")


def fingerprint(items: Iterable[tuple[str, int]], seed: bytes = b"") -> str:
    """16 hex digits that change with any name or size.

    Args:
      items: (name, size in bytes) of every file, in any order.
      seed: Further content to take in.
    """
    digest = hashlib.sha256(seed)
    for name, size in sorted(items):
        digest.update(f"{name}\t{size}\n".encode())
    return digest.hexdigest()[:16]
