"""Any corpus that a CSV describes, as a TFDS dataset named `manifest`."""

import dataclasses
import hashlib
import os
import re
from collections.abc import Iterable
from pathlib import Path
from typing import ClassVar

import tensorflow_datasets as tfds

from ser_jax.corpora import manifest
from ser_jax.corpora.utterance import Utterance
from ser_jax.datasets import file_digests, speech_builder


@dataclasses.dataclass(eq=False)
class ManifestConfig(speech_builder.SpeechConfig):
    """Features of one manifest; another CSV or other files are another dataset."""

    manifest: str = ""  # the CSV file
    fingerprint: str = ""  # of the CSV and its recordings; computed when empty

    def __post_init__(self):
        self.fingerprint = self.fingerprint or manifest_fingerprint(self.manifest)
        file = Path(self.manifest)
        # Manifests are often all called manifest.csv; their folder says more.
        stem = file.resolve().parent.name if file.stem == "manifest" else file.stem
        readable = re.sub(r"\W+", "_", stem) or "corpus"
        features = speech_builder.config_name(self)
        self.name = f"{readable}_{self.fingerprint[:8]}_{features}"


class Manifest(speech_builder.SpeechBuilder):
    """Speech described by a CSV with the columns path, emotion and speaker."""

    VERSION = tfds.core.Version("1.1.0")
    RELEASE_NOTES: ClassVar = {
        "1.0.0": "Log-mel with deltas, VTLP copies, all columns.",
        "1.1.0": "Recordings of the same sound; the fingerprint reads the files.",
    }

    def _read(self, manual_dir, excluded) -> Iterable[Utterance]:
        return manifest.read(self.builder_config.manifest, excluded=excluded)

    def _fingerprint(self, manual_dir: str | None) -> str:
        return self.builder_config.fingerprint


def manifest_fingerprint(path: str | os.PathLike, journals: str = "") -> str:
    """16 hex digits that change with the content of the CSV or of any recording.

    `journals` is the folder for `file_digests`' journal; empty = read all recordings.
    """
    utterances = list(manifest.read(path))
    content = Path(path).read_bytes()
    digests = file_digests.of_corpus(path, [u.wav for u in utterances], journals)
    names = [u.id for u in utterances]
    items = zip(names, digests, strict=True)
    return speech_builder.fingerprint(items, seed=hashlib.sha256(content).digest())
