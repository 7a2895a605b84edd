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
from ser_jax.datasets import speech_builder


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

    VERSION = tfds.core.Version("1.0.0")
    RELEASE_NOTES: ClassVar = {"1.0.0": "Log-mel, deltas, VTLP copies, all columns."}

    def _read(self, manual_dir, excluded) -> Iterable[Utterance]:
        return manifest.read(self.builder_config.manifest, excluded=excluded)

    def _fingerprint(self, manual_dir: str | None) -> str:
        return self.builder_config.fingerprint


def manifest_fingerprint(path: str | os.PathLike) -> str:
    """16 hex digits that change with the CSV's content and any recording's size."""
    utterances = manifest.read(path)  # first: its errors are for users
    content = hashlib.sha256(Path(path).read_bytes()).digest()
    sizes = ((u.id, os.path.getsize(u.wav)) for u in utterances)
    return speech_builder.fingerprint(sizes, seed=content)
