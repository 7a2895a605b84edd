"""Reads a built dataset into memory, whichever format, without TensorFlow."""

import dataclasses
import json
import os
import struct
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from tqdm import tqdm

from ser_jax.corpora.utterance import Exclusion, Utterance
from ser_jax.errors import InputError
from ser_jax.features.spec import RECIPES, FeatureSpec

# A TFRecord: length (u64), its masked CRC (u32), that many bytes, their CRC (u32).
_HEADER = struct.Struct("<QI")
_FOOTER_BYTES = 4


@dataclasses.dataclass(frozen=True)
class Store:
    """A whole dataset in host memory.

    Attributes:
      utterances: Labels of U utterances, sorted by id.
      frames: Per utterance float32 [T_u, F, C], features with C - 1 orders of deltas.
      copies: Per utterance float32 [V, T_u, F, C], VTLP copies; V may be 0.
      warp_factors: float32 [U, V].
      num_samples: int64 [U], lengths at the recipe's rate.
      spec: The recipe.
      excluded: What the reader and the builder left out, and why.
      resampled: How many recordings came at another rate.
      directory: Where it was read from.
      asr_text: Recognized text of each utterance; all empty without a recognizer.
      asr: What is known of it: recognizer, versions, word error rate, ...; or {}.
    """

    utterances: tuple[Utterance, ...]
    frames: tuple[np.ndarray, ...]
    copies: tuple[np.ndarray, ...]
    warp_factors: np.ndarray
    num_samples: np.ndarray
    spec: FeatureSpec
    excluded: tuple[Exclusion, ...]
    resampled: int
    directory: str
    asr_text: tuple[str, ...]
    asr: dict

    def take(self, positions: Sequence[int]) -> "Store":
        """The dataset with only some of its utterances, in the given order."""
        return dataclasses.replace(
            self,
            utterances=tuple(self.utterances[u] for u in positions),
            frames=tuple(self.frames[u] for u in positions),
            copies=tuple(self.copies[u] for u in positions),
            warp_factors=self.warp_factors[positions],
            num_samples=self.num_samples[positions],
            asr_text=tuple(self.asr_text[u] for u in positions),
        )


def load(
    directory: str | os.PathLike, *, channels: int | None = None, copies: bool = True
) -> Store:
    """Reads all splits of a built dataset.

    Args:
      directory: What `ser_jax.data.build.ensure_built` returned.
      channels: C, 1 static, 2 + delta, 3 + delta-delta; None = all that are stored.
      copies: Whether to keep the VTLP copies; without them V = 0.

    Returns:
      The dataset, 4 (V + 1) T F C bytes per utterance.

    Raises:
      InputError: There is no complete dataset of this version in `directory`, or its
        recipe stores fewer channels.
      ValueError: `channels` is not 1, 2 or 3.
    """
    if channels not in (None, 1, 2, 3):
        raise ValueError(f"expected channels 1, 2 or 3, got {channels}")
    directory = os.fspath(directory)
    builder = _open(directory)
    metadata = builder.info.metadata
    spec = _check_spec(metadata["spec"], directory)
    channels = spec.num_channels if channels is None else channels
    if channels > spec.num_channels:
        raise InputError(
            f"data.channels: expected at most {spec.num_channels}, which data.recipe="
            f"{spec.name} stores, got {channels}; set --config.data.channels"
        )
    total = sum(split.num_examples for split in builder.info.splits.values())
    rows = []
    # The bar shows only when reading takes longer than a breath.
    for example in tqdm(
        _examples(builder), "Reading features", total, delay=2, unit="utt", leave=False
    ):
        rows.append(_row(example, channels, copies, spec))
    rows.sort(key=lambda row: row[0].id)
    utterances, frames, warped, factors, lengths, heard = zip(*rows, strict=True)
    return Store(
        utterances=utterances,
        frames=frames,
        copies=warped,
        warp_factors=np.stack(factors),
        num_samples=np.array(lengths, np.int64),
        spec=spec,
        excluded=tuple(Exclusion(**fields) for fields in metadata["excluded"]),
        resampled=metadata["resampled"],
        directory=directory,
        asr_text=heard,
        asr=dict(metadata["asr"]),
    )


def _open(directory: str):
    if not (Path(directory) / "dataset_info.json").exists():
        raise InputError(
            f"expected a built dataset in {directory}, got no dataset_info.json there; "
            "build it with `python run.py` or `tfds build`"
        )
    import tensorflow_datasets as tfds  # half a second

    return tfds.builder_from_directory(directory)


def _check_spec(stored: dict, directory: str) -> FeatureSpec:
    """The recipe as it is now must be the one the features were made by."""
    spec = RECIPES.get(stored["name"])
    if spec is None or dataclasses.asdict(spec) != stored:
        raise InputError(
            f"{directory} was built by another version of recipe {stored['name']!r}: "
            f"expected {spec}, got {stored}. Delete the folder and run again."
        )
    return spec


def _examples(builder) -> Iterator[dict]:
    """Decoded examples of all splits, as NumPy."""
    if builder.info.file_format.value == "tfrecord":
        features = builder.info.features
        for name in builder.info.splits:
            for path in builder.info.splits[name].filepaths:
                for record in tfrecords(path):
                    yield features.deserialize_example_np(record)
    else:
        for name in builder.info.splits:
            source = builder.as_data_source(split=name)
            for index in range(len(source)):
                yield source[index]


def tfrecords(path: str | os.PathLike) -> Iterator[bytes]:
    """Records of a TFRecord file, without TensorFlow.

    Lengths are checked, checksums are not (no CRC-32C in the standard library).

    Args:
      path: An uncompressed TFRecord file.

    Yields:
      One record each.

    Raises:
      InputError: The file ends inside a record.
    """
    with open(path, "rb") as file:
        while header := file.read(_HEADER.size):
            length = _HEADER.unpack(header)[0] if len(header) == _HEADER.size else -1
            left = os.fstat(file.fileno()).st_size - file.tell() - _FOOTER_BYTES
            if not 0 <= length <= left:
                raise InputError(
                    f"{path} is damaged: expected a whole record at its end, got "
                    "fewer bytes. Delete the dataset's folder and run again."
                )
            yield file.read(length)
            file.read(_FOOTER_BYTES)


def _row(example: dict, channels: int, copies: bool, spec: FeatureSpec) -> tuple:
    """(Utterance, frames, copies, factors, samples, ASR text) of an example."""
    frames = np.ascontiguousarray(example["log_mel"][..., :channels])
    if copies and "vtlp" in example:
        warped = np.ascontiguousarray(example["vtlp"][..., :channels])
        factors = np.asarray(example["warp_factors"], np.float32)
    else:
        warped = np.zeros((0, len(frames), spec.num_bands, channels), np.float32)
        factors = np.zeros((0,), np.float32)
    samples, heard = int(example["num_samples"]), _text(example.get("asr_text", ""))
    return _utterance(example), frames, warped, factors, samples, heard


def _utterance(example: dict) -> Utterance:
    """The labels, as the reader gave them (numbers rounded to float32)."""
    fields = {}
    for field in dataclasses.fields(Utterance):
        value = example[field.name]
        if field.name == "rater_labels":
            fields[field.name] = tuple(_text(label) for label in value)
        elif field.name == "extra":
            fields[field.name] = json.loads(_text(value))
        elif field.type in (float, "float"):
            fields[field.name] = float(value)
        else:
            fields[field.name] = _text(value)
    return Utterance(**fields)


def _text(value: bytes | str) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)
