"""IEMOCAP as a TFDS dataset named `iemocap`: features, VTLP copies and every label."""

import itertools
from collections.abc import Iterable
from pathlib import Path
from typing import ClassVar

import tensorflow_datasets as tfds

from ser_jax.corpora import iemocap
from ser_jax.corpora.utterance import Utterance
from ser_jax.datasets import file_digests, speech_builder

_CORPUS_FILES = (
    "Session?/sentences/wav/*/*.wav",
    "Session?/dialog/EmoEvaluation/*.txt",
    "Session?/dialog/transcriptions/*.txt",
)


# Not registered with TFDS: the name belongs to `tfds_iemocap`, whose builder is this
# one with the README, the citation and the configurations of TFDS's folder convention.
class Iemocap(speech_builder.SpeechBuilder, skip_registration=True):
    """IEMOCAP (Busso et al., 2008); one split per session."""

    VERSION = tfds.core.Version("1.1.0")
    RELEASE_NOTES: ClassVar = {
        "1.0.0": "Log-mel with deltas, VTLP copies, all labels.",
        "1.1.0": "Recordings of the same sound; the fingerprint reads the files.",
    }
    MANUAL_DOWNLOAD_INSTRUCTIONS = """
    IEMOCAP is licensed: ask for it at https://sail.usc.edu/iemocap/ and unpack it.
    The manual folder is the one that holds Session1 ... Session5 (usually
    IEMOCAP_full_release): `tfds build --manual_dir=/data/IEMOCAP_full_release`.
    """

    def _read(self, manual_dir, excluded) -> Iterable[Utterance]:
        return iemocap.read(manual_dir, strict=self._strict, excluded=excluded)

    def fingerprint(self, manual_dir: str | None) -> str:
        """16 hex digits that change with a file's name or content.

        They are the same wherever the release lies.
        """
        root = Path(iemocap.find_root(manual_dir))
        found = itertools.chain.from_iterable(map(root.glob, _CORPUS_FILES))
        files = sorted(file for file in found if not file.name.startswith("."))
        digests = file_digests.file_digests(
            [*map(str, files)], root, self.data_dir_root
        )
        names = [file.relative_to(root).as_posix() for file in files]
        return speech_builder.digest_of(zip(names, digests, strict=True))
