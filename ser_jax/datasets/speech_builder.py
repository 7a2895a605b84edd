"""What all speech-emotion datasets share: recordings in, features and labels out."""

import abc
import collections
import dataclasses
import functools
import hashlib
import json
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import tensorflow_datasets as tfds
from tqdm import tqdm

from ser_jax.corpora.utterance import Exclusion, Utterance
from ser_jax.datasets import extraction, records, state_extraction, transcription
from ser_jax.features.recipe import PLAIN, Recipe, StatesSpec, to_dict


@dataclasses.dataclass(eq=False)
class SpeechConfig(tfds.core.BuilderConfig):
    """Which features are stored; every value but the defaults shows in the name."""

    name: str = ""  # made by `config_name`; do not pass it
    recipe: str = "logmel128"  # one of `ser_jax.features.recipe.NAMES`
    states: StatesSpec | None = None  # of the recipe `encoder`
    vtlp_copies: int = 0  # perturbed copies V per utterance
    vtlp_mode: str = "textbook"  # or `nlpaug`; `speed` of states
    vtlp_low: float = 0.8  # smallest warp factor
    vtlp_high: float = 1.2  # largest warp factor
    min_duration_s: float = 0.1  # shorter recordings are excluded and listed
    keep_silent: bool = False  # whether silent and constant recordings are used
    level: str = "as_is"  # or `unit`: each recording to zero mean and unit variance
    recognizer: str = ""  # key of `transcription.SPEECH_RECOGNIZERS`; empty = none
    samples: bool = False  # store the samples, too, int16 at the recipe's rate

    def __post_init__(self):
        self.name = self.name or config_name(self)

    @property
    def spec(self) -> Recipe:
        return self.states or PLAIN[self.recipe]

    @property
    def plain(self) -> "SpeechConfig":
        """The same without what a subclass knows of its corpus."""
        fields = dataclasses.fields(SpeechConfig)
        return SpeechConfig(**{x.name: getattr(self, x.name) for x in fields})


def config_name(config: SpeechConfig) -> str:
    """`logmel128_vtlp7`, `logmel128_nlpaug7`, `logmel40_3d`, ...; no two the same."""
    parts = [config.spec.name]
    if config.vtlp_copies:
        kind = "vtlp" if config.vtlp_mode == "textbook" else config.vtlp_mode
        parts.append(f"{kind}{config.vtlp_copies}")
        if (config.vtlp_low, config.vtlp_high) != (0.8, 1.2):
            parts.append(f"{config.vtlp_low:g}to{config.vtlp_high:g}")
    if config.min_duration_s != 0.1:
        parts.append(f"min{config.min_duration_s:g}s")
    if config.keep_silent:
        parts.append("silent")
    if config.level != "as_is":
        parts.append(config.level)
    if config.recognizer:
        parts.append(config.recognizer)
    if config.samples:
        parts.append("samples")
    return "_".join(parts)


class SpeechBuilder(tfds.core.GeneratorBasedBuilder, abc.ABC, skip_registration=True):
    """Base builder; a subclass only says where its Utterances come from.

    Splits are the corpus's sessions; all utterances and all labels are stored and
    filtered when reading. Works without TensorFlow in the format `array_record`. With
    options of Apache Beam its workers do the same.
    """

    def __init__(self, *, num_workers: int = 0, strict: bool = True, **kwargs):
        """`kwargs` are for `tfds.core.DatasetBuilder`."""
        self._num_workers = num_workers  # threads (`nlpaug`: processes); 0 = all cores
        self._strict = strict  # whether a full release must have its published counts
        super().__init__(**kwargs)

    @abc.abstractmethod
    def _read(
        self, manual_dir: str | None, excluded: list[Exclusion]
    ) -> Iterable[Utterance]:
        """Reads the corpus; appends what is left out to `excluded`."""

    @abc.abstractmethod
    def fingerprint(self, manual_dir: str | None) -> str:
        """Changes when the corpus changes."""

    def _info(self) -> tfds.core.DatasetInfo:
        return tfds.core.DatasetInfo(
            builder=self,
            description=self.__doc__,
            features=features_dict(self.builder_config),
            metadata=tfds.core.MetadataDict(),
        )

    def _split_generators(self, dl_manager):
        config = self.builder_config
        read = functools.partial(extraction.read_all, config=config)
        sessions = self._survey(dl_manager, read, transcription.transcribe)
        if config.states:
            self._encode = state_extraction.StateExtraction(config, self._root)
        total = sum(map(len, sessions.values()))
        self._bar = tqdm(total=total, desc=f"Building {config.name}", unit="utt")
        return {name: self._generate_examples(sessions[name]) for name in sessions}

    def _example_writer(self) -> records.RecordWriter:
        return records.RecordWriter(self.info.file_format)

    def _generate_splits(self, dl_manager, download_config):
        options, runner = download_config.beam_options, download_config.beam_runner
        if options is None and runner is None:
            return super()._generate_splits(dl_manager, download_config)
        from ser_jax.datasets import beam_build  # Beam takes seconds

        config = self.builder_config.plain
        with beam_build.BeamBuild(config, options, runner, self.data_path) as beam:
            sessions = self._survey(dl_manager, beam.read, beam.transcribe)
            most = download_config.max_examples_per_split
            sessions = {name: found[:most] for name, found in sessions.items()}
            templates = {name: self._get_filename_template(name) for name in sessions}
            about = self._digests, self._asr_texts
            return beam.write(sessions, templates, *about, self._root)

    @property
    def _root(self) -> Path | None:
        """Where what outlives a killed build is kept."""
        # In a bucket no journal, which is appended to, can be.
        root = str(self._data_dir_root)
        return None if "://" in root else Path(root)

    def _survey(
        self, dl_manager, read: Callable, transcribe: Callable
    ) -> dict[str, list[Utterance]]:
        """Usable recordings by session; notes what else is known of the corpus.

        `read` is `extraction.read_all` but for its config, `transcribe` does what
        `transcription.transcribe` does.
        """
        # TFDS raises when asked for the manual folder of a dataset without one.
        needs_folder = self.MANUAL_DOWNLOAD_INSTRUCTIONS is not None
        manual_dir = str(dl_manager.manual_dir) if needs_folder else None
        excluded: list[Exclusion] = []
        utterances = list(self._read(manual_dir, excluded))
        config = self.builder_config
        readings = read(utterances)
        checked = extraction.check_recordings(utterances, readings, config, excluded)
        usable, self._digests = checked.usable, checked.sound_digests
        # Before any split is opened: TFDS throws an unfinished dataset away, and the
        # texts, which take far longer than the features, must outlive it.
        self._asr_texts, asr = {}, {}
        if config.recognizer:
            folder = self._root and self._root / "recognized"
            self._asr_texts, asr = transcribe(
                usable, config.recognizer, folder, self._num_workers
            )
        if config.states:
            state_extraction.announce(checked, config, self._root)
        self.info.metadata.update(
            spec=to_dict(config.spec),
            vtlp={k: getattr(config, f"vtlp_{k}") for k in ("mode", "low", "high")},
            fingerprint=self.fingerprint(manual_dir),
            resampled=checked.resampled,
            near_duplicates=checked.near_duplicates,
            lost=checked.lost,
            excluded=[dataclasses.asdict(e) for e in excluded],
            asr=asr,
        )
        sessions = collections.defaultdict(list)
        for utterance in usable:
            sessions[utterance.session].append(utterance)
        return dict(sorted(sessions.items()))

    def _generate_examples(self, utterances):
        for utterance, features in self._extract(utterances):
            sound, text = self._digests[utterance.id], self._asr_texts.get(utterance.id)
            yield utterance.id, example_of(utterance, features, sound, text)
            self._bar.update()

    def _extract(self, utterances):
        """Utterances, each with its features."""
        if self._encode is None:
            return extraction.extract(
                utterances, self.builder_config, self._num_workers
            )
        return self._encode(utterances, self._digests)

    def _download_and_prepare(self, *args, **kwargs):
        self._bar = self._encode = None
        # One bar over all utterances in place of TFDS's four bars per session.
        tfds.display_progress_bar(False)
        try:
            super()._download_and_prepare(*args, **kwargs)
            if self.builder_config.states:
                state_extraction.remove_parts(self.builder_config, self._root)
        finally:
            tfds.display_progress_bar(True)
            if self._bar is not None:
                self._bar.close()


def features_dict(config: SpeechConfig) -> tfds.features.FeaturesDict:
    """What an example holds: labels, features and, if V > 0, VTLP copies."""
    text, number = tfds.features.Text(), tfds.features.Scalar(np.float32)
    # Bytes, not protobuf numbers, are read back without a Python loop over the numbers.
    encoding = tfds.features.Encoding.BYTES
    tensor = functools.partial(tfds.features.Tensor, encoding=encoding)
    frames = (None, config.spec.num_bands, config.spec.num_channels)
    features = {
        field.name: number if field.type is float else text
        for field in dataclasses.fields(Utterance)
    }
    features |= {
        "rater_labels": tfds.features.Sequence(text),
        "extra": tfds.features.Text(doc="Further manifest columns, a JSON object."),
        "num_samples": tfds.features.Scalar(np.int64),
        "sound": tfds.features.Text(doc="A digest of the decoded samples."),
        # Named when log-mel was all there was; holds the recipe's features.
        "log_mel": tensor(shape=frames, dtype=config.spec.dtype),
    }
    if config.recognizer:
        features["asr_text"] = text
    if config.samples:
        features["samples"] = tensor(shape=(None,), dtype=np.int16)
        features["log_peak"] = number
    if config.vtlp_copies:
        copies = (config.vtlp_copies,)
        features["vtlp"] = tensor(shape=copies + frames, dtype=config.spec.dtype)
        features["warp_factors"] = tfds.features.Tensor(shape=copies, dtype=np.float32)
    return tfds.features.FeaturesDict(features)


def example_of(
    utterance: Utterance,
    features: dict[str, np.ndarray],
    sound: str,
    asr_text: str | None,
) -> dict:
    """An example of `features_dict`; `asr_text` is None without a recognizer."""
    fields = dataclasses.asdict(utterance)
    fields["rater_labels"] = list(utterance.rater_labels)
    fields["extra"] = json.dumps(dict(utterance.extra), ensure_ascii=False)
    fields["sound"] = sound
    if asr_text is not None:
        fields["asr_text"] = asr_text
    return fields | features


def digest_of(items: Iterable[tuple[str, str]], seed: bytes = b"") -> str:
    """16 hex digits that change with `seed` and any (name, digest of the content)."""
    digest = hashlib.sha256(seed)
    for name, content in sorted(items):
        digest.update(f"{name}\t{content}\n".encode(errors="surrogateescape"))
    return digest.hexdigest()[:16]
