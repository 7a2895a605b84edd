"""Opens a built dataset, whichever format, without TensorFlow."""

import dataclasses
import functools
import hashlib
import json
import os
import struct
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from tqdm import tqdm

from ser_jax.corpora.utterance import Exclusion, Utterance
from ser_jax.datasets import frame_cache
from ser_jax.errors import InputError
from ser_jax.features import recipe

# A TFRecord: length (u64), its masked CRC (u32), that many bytes, their CRC (u32).
_HEADER = struct.Struct("<QI")
_FOOTER_BYTES = 4


@dataclasses.dataclass(frozen=True)
class Store:
    """A whole dataset; its features stay in a mapped file (see `frame_cache`)."""

    utterances: tuple[Utterance, ...]  # labels of U utterances, sorted by id
    # Features with C - 1 orders of deltas of one utterance after the other, each followed
    # by its VTLP copies: [N, F, C], of the recipe's `dtype`.
    flat: np.ndarray
    first: np.ndarray  # int64 [U], first frame of each utterance in `flat`
    num_frames: np.ndarray  # int64 [U], T_u
    warp_factors: np.ndarray  # float32 [U, V], of the copies in use; V may be 0
    num_samples: np.ndarray  # int64 [U], lengths at the recipe's rate
    spec: recipe.Recipe
    excluded: tuple[Exclusion, ...]  # by the reader and the builder
    resampled: int  # recordings that came at another rate
    directory: str
    asr_text: tuple[str, ...]  # recognized texts; all empty without a recognizer
    asr: dict  # recognizer, versions, word error rate, ...; or {}
    sound_digests: tuple[str, ...]  # of each recording, a digest of its samples
    near_duplicates: tuple[tuple[str, ...], ...]  # ids of what is probably one take
    lost: tuple[str, ...]  # emotions and speakers without a usable recording

    @functools.cached_property
    def frames(self) -> list[np.ndarray]:
        """Per utterance [T_u, F, C], without its VTLP copies; views."""
        ends = self.first + self.num_frames
        return [self.flat[a:b] for a, b in zip(self.first, ends, strict=True)]

    def take(self, positions: Sequence[int]) -> "Store":
        """The dataset with only some of its utterances, in the order of `positions`."""
        return dataclasses.replace(
            self,
            utterances=tuple(self.utterances[u] for u in positions),
            first=self.first[positions],
            num_frames=self.num_frames[positions],
            warp_factors=self.warp_factors[positions],
            num_samples=self.num_samples[positions],
            asr_text=tuple(self.asr_text[u] for u in positions),
            sound_digests=tuple(self.sound_digests[u] for u in positions),
        )


def load(
    directory: str | os.PathLike,
    *,
    channels: int | None = None,
    copies: bool = True,
    cache_dir: str = "",
    states: recipe.StatesSpec | None = None,
) -> Store:
    """Opens all splits of a built dataset.

    The first time, a file of 4 (V + 1) T F C bytes per utterance is written (hidden states:
    2 (V + 1) T F C).

    Args:
      directory: From `build.ensure_built`.
      channels: C, 1 static, 2 + delta, 3 + delta-delta; None or 0 = all that are stored.
      copies: Whether to keep the VTLP copies; without them V = 0.
      cache_dir: Where the copied features are kept; empty = in the dataset's folder.
      states: The recipe of hidden states, as they were built.

    Raises:
      InputError: There is no complete dataset of this version in `directory`, its
        recipe stores fewer channels, or the features cannot be copied.
    """
    builder, spec = _open(directory, states)
    channels = channels or spec.num_channels
    if channels > spec.num_channels:
        raise InputError(
            f"data.channels: expected at most {spec.num_channels}, which data.recipe="
            f"{spec.name} stores, got {channels}; set --config.data.channels"
        )
    name = f"flat_channels{channels}{'_copies' if copies else ''}"
    flat, rows = _cached(
        directory, cache_dir, name, lambda: _feature_blocks(builder, channels, copies)
    )
    sizes = [row["num_frames"] * (1 + len(row["warp_factors"])) for row in rows]
    first = np.cumsum([0, *sizes], dtype=np.int64)[:-1]  # records are in no order
    order = sorted(range(len(rows)), key=lambda u: rows[u]["utterance"]["id"])
    rows = [rows[u] for u in order]
    metadata = builder.info.metadata
    return Store(
        utterances=tuple(_utterance(row["utterance"]) for row in rows),
        flat=flat,
        first=first[order],
        num_frames=np.array([row["num_frames"] for row in rows], np.int64),
        warp_factors=np.array([row["warp_factors"] for row in rows], np.float32),
        num_samples=np.array([row["num_samples"] for row in rows], np.int64),
        spec=spec,
        excluded=tuple(Exclusion(**fields) for fields in metadata["excluded"]),
        resampled=metadata["resampled"],
        directory=os.fspath(directory),
        asr_text=tuple(row["asr_text"] for row in rows),
        asr=dict(metadata["asr"]),
        sound_digests=tuple(row["sound"] for row in rows),
        near_duplicates=tuple(map(tuple, metadata["near_duplicates"])),
        lost=tuple(metadata["lost"]),
    )


def load_samples(directory: str | os.PathLike, cache_dir: str) -> frame_cache.Cache:
    """Opens the recordings' samples, int16 [N, 1, hop], each padded to whole rows.

    Their entries have `id`, `num_samples` and `log_peak`. Arguments and errors as for
    `load`.
    """
    builder, spec = _open(directory)
    if "samples" not in builder.info.features:
        raise InputError(
            f"augment.vtlp=online: expected a dataset with samples, got {directory}, "
            "which holds features only. Build it with "
            "--config.augment.vtlp=online, or set --config.augment.vtlp=one."
        )
    hop = spec.hop_samples
    return _cached(
        directory, cache_dir, "flat_samples", lambda: _sample_blocks(builder, hop)
    )


def _open(directory: str | os.PathLike, states: recipe.StatesSpec | None = None):
    """The dataset and its recipe, which must still be what it was built with."""
    if not (Path(directory) / "dataset_info.json").exists():
        raise InputError(
            f"expected a built dataset in {directory}, got no dataset_info.json there; "
            "build it with `python run.py` or `tfds build`"
        )
    import tensorflow_datasets as tfds  # half a second

    builder = tfds.builder_from_directory(directory)
    stored = builder.info.metadata["spec"]
    spec = states or recipe.PLAIN.get(stored["name"])
    if spec is None or recipe.to_dict(spec) != stored:
        raise InputError(
            f"{directory} was built by another version of recipe {stored['name']!r}: "
            f"expected {spec}, got {stored}. Delete the folder and run again."
        )
    return builder, spec


def _cached(directory, cache_dir: str, name: str, blocks) -> frame_cache.Cache:
    """The cache of that name, in `cache_dir` or else in the dataset's folder."""
    folder = Path(directory)
    if cache_dir:
        # Datasets of the same name in other folders must not share a cache.
        path = os.path.abspath(directory)
        key = hashlib.sha256(path.encode()).hexdigest()[:8]
        folder = Path(cache_dir).expanduser() / f"{Path(path).parent.name}_{key}"
    return frame_cache.open_or_write(folder / name, directory, blocks)


def _feature_blocks(builder, channels: int, copies: bool) -> frame_cache.Blocks:
    total = sum(split.num_examples for split in builder.info.splits.values())
    options = {"unit": "utt", "delay": 2, "leave": False}  # no bar for small corpora
    for example in tqdm(examples(builder), "Reading features", total, **options):
        frames = example["log_mel"][..., :channels]
        warped, factors = [], []
        if copies and "vtlp" in example:
            warped = [example["vtlp"][..., :channels]]
            factors = np.asarray(example["warp_factors"], np.float32).tolist()
        entry = {
            "utterance": _labels(example),
            "num_frames": len(frames),
            "num_samples": int(example["num_samples"]),
            "sound": _plain(example["sound"]),
            "warp_factors": factors,
            "asr_text": _plain(example.get("asr_text", "")),
        }
        yield entry, [frames, *warped]


def _sample_blocks(builder, hop_samples: int) -> frame_cache.Blocks:
    for example in examples(builder):
        samples = example["samples"]
        rows = np.pad(samples, (0, -len(samples) % hop_samples))
        entry = {
            "id": _plain(example["id"]),
            "num_samples": len(samples),
            "log_peak": float(example["log_peak"]),
        }
        yield entry, [rows.reshape(-1, 1, hop_samples)]


def _labels(example: dict) -> dict:
    """The labels as the reader gave them (numbers rounded to float32), as JSON."""
    fields = dataclasses.fields(Utterance)
    labels = {field.name: _plain(example[field.name]) for field in fields}
    return labels | {"extra": json.loads(labels["extra"])}


def _utterance(labels: dict) -> Utterance:
    return Utterance(**labels | {"rater_labels": tuple(labels["rater_labels"])})


def _plain(value):
    """Texts, numbers and lists of texts as JSON has them, whatever the format gives."""
    if isinstance(value, bytes):
        return value.decode()
    if np.ndim(value):
        return [_plain(item) for item in value]
    return value if isinstance(value, str) else float(value)


def examples(builder) -> Iterator[dict]:
    """Decoded examples of all splits, as NumPy."""
    # TFDS itself reads TFRecords through TensorFlow, which takes seconds to import.
    is_tfrecord = builder.info.file_format.value == "tfrecord"
    for name, split in builder.info.splits.items():
        if is_tfrecord:
            decode = builder.info.features.deserialize_example_np
            for path in split.filepaths:
                yield from map(decode, tfrecords(path))
        else:
            source = builder.as_data_source(split=name)
            yield from (source[index] for index in range(len(source)))


def tfrecords(path: str | os.PathLike) -> Iterator[bytes]:
    """Records of an uncompressed TFRecord file; InputError if one is cut short."""
    # Checksums are not checked: the standard library has no CRC-32C.
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
