"""What a build with Apache Beam does in place of a build on one machine.

Recordings are read, and heard, one by one. Features come in parts of a session, each a
shard that one worker writes: the same whoever writes it, and however often.
"""

import contextlib
import functools
import itertools
import os
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple, Self

import tensorflow_datasets as tfds
from etils import epath
from tensorflow_datasets.core import example_serializer, file_adapters, naming
from tensorflow_datasets.core.utils import py_utils
from tqdm import tqdm

from ser_jax.corpora.utterance import Exclusion, Utterance
from ser_jax.datasets import (
    beam_map,
    extraction,
    records,
    speech_builder,
    state_extraction,
    transcription,
)
from ser_jax.errors import writing

_LOOK_S = 2.0  # between two looks at what the workers have written


class _Part(NamedTuple):
    """What one worker writes at once."""

    path: str  # of the shard
    utterances: list[Utterance]
    sound_digests: dict[str, str]  # by id
    asr_texts: dict[str, str]  # by id; empty without a recognizer


class BeamBuild:
    """The steps of one build; a context, behind which nothing is left of them."""

    def __init__(self, config, options, runner, dataset: epath.Path):
        """Starts nothing.

        Args:
          config: A plain `SpeechConfig`.
          options, runner: What `beam.Pipeline` takes, either may be None.
          dataset: The unfinished dataset's folder.
        """
        self._config, self._folder = config, dataset / "beam"
        self._map = beam_map.BeamMap(options, runner, str(self._folder))

    def __enter__(self) -> Self:
        self._folder.mkdir(parents=True)
        return self

    def __exit__(self, *_) -> None:
        self._folder.rmtree(missing_ok=True)

    def read(self, utterances: list[Utterance]) -> list[extraction.Reading | Exclusion]:
        """As `extraction.read_all`."""
        make = functools.partial(
            functools.partial, extraction.read, config=self._config
        )
        return self._map("Read", make, utterances)

    def transcribe(
        self, utterances: list[Utterance], name: str, folder: Path | None, threads: int
    ) -> tuple[dict[str, str], dict]:
        """As `transcription.transcribe`; each worker has one thread unless told."""
        listener = transcription.Listener
        make = functools.partial(listener, name, folder, threads or 1, alone=False)
        heard = self._map("Recognize", make, utterances)
        return transcription.sum_up(utterances, heard, name)

    def write(
        self,
        sessions: Mapping[str, list[Utterance]],
        templates: Mapping[str, naming.ShardedFileTemplate],
        sound_digests: Mapping[str, str],
        asr_texts: Mapping[str, str],
        root: Path | None,
    ) -> list[tfds.core.SplitInfo]:
        """Writes every session as a split.

        Args:
          sessions: Usable recordings by the name of their split.
          templates: How shards are called, by split.
          sound_digests, asr_texts: By id.
          root: As for `state_extraction.StateExtraction`.
        """
        size = state_extraction.PART
        parts = {
            name: [found[at : at + size] for at in range(0, len(found), size)]
            for name, found in sessions.items()
        }
        todo = [
            _part(templates[name], number, parts[name], sound_digests, asr_texts)
            for name in parts
            for number in range(len(parts[name]))
        ]
        file_format = next(iter(templates.values())).filetype_suffix
        make = functools.partial(_ShardWriter, self._config, file_format, root)
        with _bar(f"Building {self._config.name}", [part.path for part in todo]):
            sizes = iter(self._map("Build", make, todo))
        return [
            tfds.core.SplitInfo(
                name=name,
                shard_lengths=[len(part) for part in parts[name]],
                num_bytes=sum(itertools.islice(sizes, len(parts[name]))),
                filename_template=templates[name],
            )
            for name in parts
        ]


@contextlib.contextmanager
def _bar(title: str, shards: list[str]) -> Iterator[None]:
    """Shows how many shards are there: whoever writes them, they end in one folder."""
    names, ended = {os.path.basename(path) for path in shards}, threading.Event()
    folder = os.path.dirname(shards[0])

    def count():
        while not ended.wait(_LOOK_S):
            with contextlib.suppress(OSError):  # of a network disk: the next look
                bar.update(len(names.intersection(os.listdir(folder))) - bar.n)

    with tqdm(desc=title, total=len(shards), unit="shard") as bar:
        thread = threading.Thread(target=count, daemon=True)
        thread.start()
        try:
            yield
            bar.update(len(shards) - bar.n)
        finally:
            ended.set()
            thread.join()


def _part(template, number: int, parts: list, sound_digests, asr_texts) -> _Part:
    path = template.sharded_filepath(shard_index=number, num_shards=len(parts))
    ids = [utterance.id for utterance in parts[number]]
    return _Part(
        str(path),
        parts[number],
        {name: sound_digests[name] for name in ids},
        {name: asr_texts[name] for name in ids if asr_texts},
    )


class _ShardWriter:
    """Writes shards; in a worker, which loads an encoder once."""

    def __init__(self, config, file_format: str, root: Path | None):
        self._config = config
        self._encode = None
        if config.states:
            self._encode = state_extraction.StateExtraction(config, root)
        self._features = speech_builder.features_dict(config)
        self._serializer = example_serializer.ExampleSerializer(
            self._features.get_serialized_info()
        )
        self._writer = records.RecordWriter(file_adapters.FileFormat(file_format))

    def __call__(self, part: _Part) -> int:
        """Writes a shard, whole or not at all; returns the bytes of its records."""
        sizes: list[int] = []
        # Others may write the same shard at the same time; the last one stays.
        with (
            writing(part.path),
            py_utils.incomplete_file(epath.Path(part.path)) as unfinished,
        ):
            self._writer.write(unfinished, self._records(part, sizes))
        return sum(sizes)

    def _records(self, part: _Part, sizes: list[int]):
        """Yields ids and records, and notes the sizes of these."""
        for utterance, features in self._extract(part):
            name = utterance.id
            about = part.sound_digests[name], part.asr_texts.get(name)
            example = speech_builder.example_of(utterance, features, *about)
            encoded = self._features.encode_example(example)
            record = self._serializer.serialize_example(encoded)
            sizes.append(len(record))
            yield name, record

    def _extract(self, part: _Part):
        if self._encode:
            return self._encode(part.utterances, part.sound_digests)
        extract = functools.partial(extraction.extract_one, config=self._config)
        return ((utterance, extract(utterance)) for utterance in part.utterances)
