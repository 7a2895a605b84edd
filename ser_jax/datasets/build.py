"""Builds a dataset on first use and finds it afterwards."""

import contextlib
import fcntl
import importlib.util
import io
import logging
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from ser_jax import clock
from ser_jax.datasets import transcription
from ser_jax.errors import InputError
from ser_jax.features.spec import RECIPES

_MODES = ("textbook", "nlpaug")
_FORMATS = ("tfrecord", "array_record")
_INCOMPLETE = "incomplete."  # how TFDS names what it is writing


def ensure_built(data, *, samples: bool = False) -> str:
    """Builds the configured dataset unless it is there.

    A dataset that is there is reused in whichever format it was built. Processes that
    want the same dataset at once wait for the first one.

    Args:
      data: The group `data` of the config (see `configs/base.py`).
      samples: Whether the recordings' samples are stored too. VTLP copies are not
        stored then, whatever `data.vtlp_copies` says: the samples are for making them
        in every step.

    Returns:
      The dataset's folder, for `ser_jax.datasets.store.load`.

    Raises:
      InputError: A value, the corpus, the folder or TensorFlow is missing or wrong,
        or the corpus is not the one the dataset was built from.
    """
    check_data(data)
    builder, root = _builder(data, samples)
    target = Path(builder.data_dir)
    # A dataset appears by one rename, so what is there is complete.
    if not target.exists():
        with lock(target):
            if not target.exists():
                _build(builder, root, data)
                return str(target)
        builder, root = _builder(data, samples)  # another process built it meanwhile
    _check_unchanged(builder, root)
    return str(target)


def check_data(data) -> None:
    """Checks the choices and ranges of `config.data` that decide what is built.

    Raises:
      InputError: Names the key, what it takes and what came.
    """
    choices = {
        "corpus": ("iemocap", "manifest", "demo"),
        "recipe": tuple(RECIPES),
        "vtlp_mode": _MODES,
        "file_format": _FORMATS,
        "text": ("none", "transcript", "asr"),
        "recognizer": ("", *transcription.RECOGNIZERS),
    }
    for key, allowed in choices.items():
        if data[key] not in allowed:
            names = ", ".join(name or "''" for name in allowed)
            raise InputError(
                f"data.{key}: expected one of {names}, got {data[key]!r}; set "
                f"--config.data.{key}"
            )
    if not 0 < data.vtlp_low <= data.vtlp_high:
        raise InputError(
            "expected 0 < data.vtlp_low <= data.vtlp_high, got "
            f"{data.vtlp_low} and {data.vtlp_high}"
        )
    if data.vtlp_copies < 0:
        raise InputError(f"expected data.vtlp_copies >= 0, got {data.vtlp_copies}")
    if data.corpus == "manifest" and not data.manifest:
        raise InputError(
            "data.corpus=manifest: expected a CSV file, got none; set "
            "--config.data.manifest=/path/to/manifest.csv"
        )
    if data.text == "asr" and not data.recognizer:
        raise InputError(
            "data.text=asr: expected a recognizer to make the text when the dataset is "
            "built, got data.recognizer=''; set --config.data.recognizer="
            f"{next(iter(transcription.RECOGNIZERS))} or --config.data.text=transcript"
        )


def _builder(data, samples: bool):
    """The TFDS builder of a config and the corpus's folder (None for a manifest)."""
    import tensorflow_datasets as tfds  # half a second

    from ser_jax.datasets import iemocap_builder, manifest_builder, speech_builder

    features = {
        "recipe": data.recipe,
        "samples": samples,
        "vtlp_copies": 0 if samples else data.vtlp_copies,
        "vtlp_mode": data.vtlp_mode,
        "vtlp_low": data.vtlp_low,
        "vtlp_high": data.vtlp_high,
        "min_duration_s": data.min_duration_s,
        "recognizer": data.recognizer,
    }
    folder = os.path.expanduser(data.tfds_dir or str(tfds.core.constants.DATA_DIR))
    common = {"num_workers": data.num_workers, "strict": data.strict}
    if data.corpus == "manifest":
        config = manifest_builder.ManifestConfig(
            manifest=os.path.abspath(os.path.expanduser(data.manifest)), **features
        )
        builder = manifest_builder.Manifest(config=config, data_dir=folder, **common)
        return builder, None
    root = None
    if data.corpus == "demo":
        name = f"turns{data.demo_turns}_seed{data.demo_seed}"
        folder = os.path.join(folder, "demo", name)
        root = _demo_root(data, folder)
    builder = iemocap_builder.Iemocap(
        config=speech_builder.SpeechConfig(**features), data_dir=folder, **common
    )
    return builder, root or _iemocap_root(data, builder)


def _demo_root(data, folder: str) -> str:
    from ser_jax.corpora import demo

    corpus = Path(folder) / "corpus"
    with lock(corpus):
        return str(demo.make(corpus, turns=data.demo_turns, seed=data.demo_seed))


def _iemocap_root(data, builder) -> str | None:
    """The release's folder; None if it is gone but the dataset is there."""
    from ser_jax.corpora import iemocap

    try:
        return str(iemocap.find_root(data.root))
    except InputError:
        if data.root or not builder.is_prepared():
            raise
        return None


def _check_unchanged(builder, root: str | None) -> None:
    if root is None:  # a manifest's fingerprint is part of the folder's name
        return
    from ser_jax.datasets import iemocap_builder

    wanted = iemocap_builder.corpus_fingerprint(root)
    built = builder.info.metadata["fingerprint"]
    if wanted != built:
        raise InputError(
            f"{builder.data_dir} was built from another corpus than {root}: expected "
            f"fingerprint {built}, got {wanted} (files came, went or changed size). "
            "Delete that folder to build again, or set --config.data.tfds_dir."
        )


@clock.part("features")
def _build(builder, root: str | None, data) -> None:
    import tensorflow_datasets as tfds

    if data.file_format == "tfrecord" and not importlib.util.find_spec("tensorflow"):
        raise InputError(
            "data.file_format=tfrecord: expected TensorFlow, which writes TFRecords, "
            "got an installation without it. Run `pip install -e '.[tfrecord]'` or "
            "set --config.data.file_format=array_record."
        )
    if data.recognizer:
        transcription.versions(data.recognizer)  # missing packages show at once
    target = Path(builder.data_dir)
    _remove_leftovers(target)
    try:
        # TFDS prints that it downloads something of unknown size.
        with contextlib.redirect_stdout(io.StringIO()):
            builder.download_and_prepare(
                file_format=data.file_format,
                download_config=tfds.download.DownloadConfig(manual_dir=root),
            )
    except OSError as error:
        raise InputError(
            f"cannot write the dataset {target}: {error}. Free space there or point "
            "--config.data.tfds_dir at another folder."
        ) from error


def _remove_leftovers(target: Path) -> None:
    """Removes what a killed build of this dataset left (we hold its lock)."""
    for folder in target.parent.glob(f"{_INCOMPLETE}*_{target.name}"):
        logging.getLogger(__name__).warning("removing unfinished build %s", folder)
        shutil.rmtree(folder)


@contextlib.contextmanager
def lock(
    target: Path, key: str = "--config.data.tfds_dir or TFDS_DATA_DIR"
) -> Iterator[None]:
    """Holds `target` for this process; the system lets go even after SIGKILL.

    Args:
      target: A file or folder that is to be written.
      key: What says where it lies, for the error.

    Raises:
      InputError: Nothing can be written there.
    """
    path = target.parent / f".{target.name}.lock"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        file = path.open("w")
    except OSError as error:
        raise InputError(
            f"expected a folder to write to, got {path.parent}: {error.strerror}. Set "
            f"{key}."
        ) from error
    with file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
