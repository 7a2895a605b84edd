"""Any corpus that a CSV describes, as a TFDS dataset named `manifest`."""

import dataclasses
import hashlib
import re
from collections.abc import Iterable
from pathlib import Path
from typing import ClassVar

import tensorflow_datasets as tfds

from ser_jax.corpora import manifest
from ser_jax.corpora.utterance import Exclusion, Utterance
from ser_jax.datasets import file_digests, speech_builder


@dataclasses.dataclass(eq=False)
class ManifestConfig(speech_builder.SpeechConfig):
    """Features of one manifest; another CSV or other files are another dataset."""

    manifest: str = ""  # the CSV file
    tfds_dir: str = ""  # where datasets lie, and what is known of files beside them

    def __post_init__(self):
        # Read once: large manifests take seconds.
        self.excluded: list[Exclusion] = []
        self.utterances = list(manifest.read(self.manifest, excluded=self.excluded))
        self.fingerprint = self._fingerprint()
        file = Path(self.manifest)
        # Manifests are often all called manifest.csv; their folder says more.
        stem = file.resolve().parent.name if file.stem == "manifest" else file.stem
        readable = re.sub(r"\W+", "_", stem) or "corpus"
        features = speech_builder.config_name(self)
        self.name = f"{readable}_{self.fingerprint[:8]}_{features}"

    def _fingerprint(self) -> str:
        """Changes with the content of the CSV or of any recording."""
        paths = [utterance.wav for utterance in self.utterances]
        digests = file_digests.file_digests(paths, self.manifest, self.tfds_dir)
        ids = [utterance.id for utterance in self.utterances]
        content = hashlib.sha256(Path(self.manifest).read_bytes()).digest()
        return speech_builder.digest_of(zip(ids, digests, strict=True), seed=content)


class Manifest(speech_builder.SpeechBuilder):
    """Speech described by a CSV with the columns path, emotion and speaker."""

    VERSION = tfds.core.Version("1.1.0")
    RELEASE_NOTES: ClassVar = {
        "1.0.0": "Log-mel with deltas, VTLP copies, all columns.",
        "1.1.0": "Recordings of the same sound; the fingerprint reads the files.",
    }

    def _read(self, manual_dir, excluded) -> Iterable[Utterance]:
        excluded += self.builder_config.excluded
        return self.builder_config.utterances

    def fingerprint(self, manual_dir: str | None) -> str:
        return self.builder_config.fingerprint
