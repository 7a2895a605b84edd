"""IEMOCAP as a TFDS dataset: features, VTLP copies and every label."""

import hashlib
import itertools
import os
from collections.abc import Iterable
from pathlib import Path
from typing import ClassVar

import tensorflow_datasets as tfds

from ser_jax.corpora import iemocap
from ser_jax.corpora.utterance import Exclusion, Utterance
from ser_jax.datasets import speech_builder

_PATTERNS = (
    "Session?/sentences/wav/*/*.wav",
    "Session?/dialog/EmoEvaluation/*.txt",
    "Session?/dialog/transcriptions/*.txt",
)


class Builder(speech_builder.SpeechBuilder):
    """IEMOCAP (Busso et al., 2008); one split per session."""

    VERSION = tfds.core.Version("1.0.0")
    RELEASE_NOTES: ClassVar = {"1.0.0": "Log-mel with deltas, VTLP copies, all labels."}
    MANUAL_DOWNLOAD_INSTRUCTIONS = """
    IEMOCAP is licensed: ask for it at https://sail.usc.edu/iemocap/ and unpack it.
    The manual folder is the one that holds Session1 ... Session5 (usually
    IEMOCAP_full_release): `tfds build --manual_dir=/data/IEMOCAP_full_release`.
    """
    # The first one is TFDS's default.
    BUILDER_CONFIGS: ClassVar = [
        speech_builder.SpeechConfig(recipe="logmel128", vtlp_copies=7),
        speech_builder.SpeechConfig(recipe="logmel128"),
        speech_builder.SpeechConfig(recipe="logmel128", samples=True),
        speech_builder.SpeechConfig(
            recipe="logmel128", vtlp_copies=7, vtlp_mode="nlpaug"
        ),
        speech_builder.SpeechConfig(recipe="logmel64", vtlp_copies=7),
        speech_builder.SpeechConfig(recipe="logmel40_3d"),
        speech_builder.SpeechConfig(recipe="logmel40_3d", vtlp_copies=7),
        speech_builder.SpeechConfig(recipe="logmel40_psf"),
        speech_builder.SpeechConfig(recipe="mfcc26"),
        speech_builder.SpeechConfig(recipe="mfcc32_3d"),
        speech_builder.SpeechConfig(recipe="spectrogram200"),
        speech_builder.SpeechConfig(recipe="spectrogram400"),
    ]

    def _info(self) -> tfds.core.DatasetInfo:
        return self.dataset_info_from_configs(
            features=speech_builder.features_dict(self.builder_config),
            metadata=tfds.core.MetadataDict(),
        )

    def _read(
        self, manual_dir: str | None, excluded: list[Exclusion]
    ) -> Iterable[Utterance]:
        root = iemocap.find_root(manual_dir)
        return iemocap.read(root, strict=self._strict, excluded=excluded)

    def _fingerprint(self, manual_dir: str | None) -> str:
        return corpus_fingerprint(iemocap.find_root(manual_dir))


def corpus_fingerprint(root: str | os.PathLike) -> str:
    """Changes when a recording comes, goes or changes size, or when a text changes.

    Args:
      root: Folder that holds Session1 ... Session5.

    Returns:
      16 hex digits, the same wherever the folder lies.
    """
    root = Path(root)
    files = itertools.chain.from_iterable(map(root.glob, _PATTERNS))
    return speech_builder.fingerprint(
        (f"{file.relative_to(root).as_posix()} {_text_digest(file)}", size)
        for file, size in ((f, f.stat().st_size) for f in files)
        if not file.name.startswith(".")
    )


def _text_digest(file: Path) -> str:
    """Of label files and transcripts: a corrected label keeps the size."""
    if file.suffix != ".txt":
        return ""
    return hashlib.sha256(file.read_bytes()).hexdigest()
