"""Corpora that a CSV describes or that go by their names as TFDS datasets."""

import dataclasses
import hashlib
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import ClassVar

import tensorflow_datasets as tfds

from ser_jax.corpora import manifest, named, several
from ser_jax.corpora.utterance import Exclusion, Utterance
from ser_jax.datasets import file_digests, speech_builder

_LONGEST = 60  # letters of a dataset's name that name its corpora


@dataclasses.dataclass(eq=False)
class ListedConfig(speech_builder.SpeechConfig):
    """Features of recordings that were listed before; other files, another dataset."""

    tfds_dir: str = ""  # where datasets lie, and what is known of files beside them

    def __post_init__(self):
        # Read once: large corpora take seconds.
        self.excluded: list[Exclusion] = []
        self.utterances, corpus, seed, readable = self._list()
        paths = [utterance.wav for utterance in self.utterances]
        digests = file_digests.file_digests(paths, corpus, self.tfds_dir)
        ids = [utterance.id for utterance in self.utterances]
        items = zip(ids, digests, strict=True)
        self.fingerprint = speech_builder.digest_of(items, seed=seed)
        readable = re.sub(r"\W+", "_", readable) or "corpus"
        features = speech_builder.config_name(self)
        self.name = f"{readable}_{self.fingerprint[:8]}_{features}"

    def _list(self) -> tuple[list[Utterance], str | Path, bytes, str]:
        """(Recordings, where they lie, what else the dataset depends on, its name)."""
        raise NotImplementedError


@dataclasses.dataclass(eq=False)
class ManifestConfig(ListedConfig):
    """Features of one manifest; another CSV or other files are another dataset."""

    manifest: str = ""  # the CSV file

    def _list(self):
        utterances = list(manifest.read(self.manifest, excluded=self.excluded))
        file = Path(self.manifest)
        # Manifests are often all called manifest.csv; their folder says more.
        stem = file.resolve().parent.name if file.stem == "manifest" else file.stem
        return utterances, file, hashlib.sha256(file.read_bytes()).digest(), stem


@dataclasses.dataclass(eq=False)
class NamedConfig(ListedConfig):
    """Features of a public corpus; another copy of it may be another dataset."""

    corpus: str = ""  # a table of `corpora.toml`
    root: str = ""  # see `named.find_root`

    def _list(self):
        utterances = list(named.read(self.corpus, self.root, excluded=self.excluded))
        root = named.find_root(self.corpus, self.root)
        return utterances, root, _digest_of_labels(utterances), self.corpus


@dataclasses.dataclass(eq=False)
class SeveralConfig(ListedConfig):
    """Features of several corpora in one dataset."""

    corpora: Mapping[str, str] = dataclasses.field(default_factory=dict)
    strict: bool = True  # see `several.read`

    def _list(self):
        utterances = several.read(
            self.corpora, strict=self.strict, excluded=self.excluded
        )
        # Its files have a journal of their own: they lie in many places.
        places = "+".join(f"{name}={place}" for name, place in self.corpora.items())
        name = "_".join(sorted(self.corpora))[:_LONGEST]
        return utterances, places, _digest_of_labels(utterances), name


def _digest_of_labels(utterances: list[Utterance]) -> bytes:
    """Changes with all that is known of them but the place."""
    # Labels, speakers and texts come from descriptions, which may be corrected.
    about = [dataclasses.replace(u, wav="") for u in utterances]
    return hashlib.sha256(repr(about).encode()).digest()


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


class Named(Manifest):
    """A public corpus that goes by its name."""


class Several(Manifest):
    """Several corpora, `extra["corpus"]` says which."""
