"""Builds a dataset on first use and finds it afterwards."""

import contextlib
import importlib.util
import io
import logging
import os
import shutil
from pathlib import Path

from ser_jax import bucket, clock
from ser_jax.corpora import descriptions, iemocap, manifest, named, several, taxonomy
from ser_jax.corpora.utterance import Exclusion, Utterance
from ser_jax.datasets import locking, mirror, transcription
from ser_jax.errors import InputError, writing
from ser_jax.features import recipe
from ser_jax.features.spec import VTLP_MODES

CHOICES = {  # of `config.data`
    "corpus": ("iemocap", "manifest", "demo", "multi", *descriptions.load()),
    "taxonomy": ("", *taxonomy.SETS),
    "recipe": recipe.NAMES,
    "vtlp_mode": (*VTLP_MODES, recipe.SPEED),
    "level": ("as_is", "unit"),
    "file_format": ("tfrecord", "array_record"),
    "text": ("none", "transcript", "asr"),
    "recognizer": ("", *transcription.SPEECH_RECOGNIZERS),
}
_SETTING = "--config.data.tfds_dir or TFDS_DATA_DIR"  # where all of it is written


def ensure_built(
    data,
    *,
    samples: bool = False,
    states: recipe.StatesSpec | None = None,
    beam: str = "",
) -> str:
    """Builds the configured dataset unless it is there, and returns its folder.

    A dataset that is there is reused in whichever format it was built. A process that
    needs a dataset another one is building waits for it.

    Args:
      data: The group `data` of a checked config (see `configs/base.py`).
      samples: Whether to store the recordings' samples instead of VTLP copies, which are
        then made in every step.
      states: What is stored with the recipe `encoder`.
      beam: Options of Apache Beam, `name=value,...`, whose workers then build; the
        records are the same. Empty = this machine builds.

    Raises:
      InputError: The corpus, the folder, TensorFlow or Beam is missing, an option is
        wrong, Beam's workers cannot see the folder, or the corpus is not the one the
        dataset was built from.
    """
    options = _beam_options(beam, _given_folder(data)) if beam else None
    builder, root = _builder(data, samples, states)
    target = Path(builder.data_dir)
    if remote := _in_bucket(data, target):
        with locking.lock(target, _SETTING):
            mirror.settle(remote, target, lambda: _build(builder, root, data, options))
    # A dataset appears by one rename, so what is there is complete.
    elif not target.exists():
        with locking.lock(target, _SETTING):
            if not target.exists():  # another process may have been first
                _build(builder, root, data, options)
                return str(target)
    if root is not None:  # other fingerprints are part of the folder's name
        _check_unchanged(builder, root, remote)
    return str(target)


def datasets_folder(data) -> str:
    """The folder below which datasets, and what is kept beside them, lie.

    It is local: in a bucket are copies of the datasets.
    """
    return mirror.local_folder(_given_folder(data), data.cache_dir)


def _given_folder(data) -> str:
    import tensorflow_datasets as tfds  # half a second

    return os.path.expanduser(data.tfds_dir or str(tfds.core.constants.DATA_DIR))


def describe(directory: str, data) -> str:
    """Lines on a built dataset: where it lies, its splits, its size, what is left out.

    `data` is the group of the config that it was built with.
    """
    import tensorflow_datasets as tfds

    info = tfds.builder_from_directory(directory).info
    splits = [f"{name} {split.num_examples}" for name, split in info.splits.items()]
    total = sum(split.num_examples for split in info.splits.values())
    remote = _in_bucket(data, Path(directory))
    copied = f", a copy of {remote}" if remote else ""
    return (
        f"{directory}{copied}\n  {total} utterances, {info.dataset_size / 1e9:.2f} GB "
        f"({info.file_format.value}), {len(info.metadata['excluded'])} left out\n"
        f"  {', '.join(splits)}"
    )


def _in_bucket(data, target: Path) -> str:
    """Where a dataset lies in the bucket; empty if there is none."""
    given = _given_folder(data)
    if not bucket.is_remote(given):
        return ""
    name = target.relative_to(datasets_folder(data)).as_posix()
    return f"{given.rstrip('/')}/{name}"


def list_utterances(data) -> list[Utterance]:
    """All recordings as the corpus's reader lists them now; nothing is built.

    Raises:
      InputError: The corpus cannot be read.
    """
    excluded: list[Exclusion] = []
    if data.corpus == "multi":
        corpora = _corpora(data, datasets_folder(data))
        return several.read(corpora, strict=data.strict, excluded=excluded)
    if data.corpus == "manifest":
        path = os.path.abspath(os.path.expanduser(data.manifest))
        return list(manifest.read(path, excluded=excluded))
    if data.corpus in several.IEMOCAP_CORPORA:
        is_demo = data.corpus == "demo"
        root = _demo(data, datasets_folder(data)) if is_demo else data.root
        root = iemocap.find_root(str(root))
        return list(iemocap.read(root, strict=data.strict, excluded=excluded))
    return list(named.read(data.corpus, data.root, excluded=excluded))


def _builder(data, samples: bool, states: recipe.StatesSpec | None):
    """(TFDS builder, IEMOCAP's folder; None for other corpora or if it is gone.)"""
    from ser_jax.datasets import iemocap_builder, speech_builder

    features = {
        "recipe": data.recipe,
        "states": states,
        "samples": samples,
        "vtlp_copies": 0 if samples else data.vtlp_copies,
        "vtlp_mode": data.vtlp_mode,
        "vtlp_low": data.vtlp_low,
        "vtlp_high": data.vtlp_high,
        "min_duration_s": data.min_duration_s,
        "keep_silent": data.keep_silent,
        "level": data.level,
        "recognizer": data.recognizer,
    }
    folder = datasets_folder(data)
    common = {"num_workers": data.num_workers, "strict": data.strict}
    if data.corpus not in several.IEMOCAP_CORPORA:
        kind, config = _listed(data, folder, features)
        return kind(config=config, data_dir=folder, **common), None
    root = None
    if data.corpus == "demo":
        root = _demo(data, folder)
        folder = str(root.parent)
    config = speech_builder.SpeechConfig(**features)
    builder = iemocap_builder.Iemocap(config=config, data_dir=folder, **common)
    return builder, str(root) if root else _iemocap_root(data, builder)


def _listed(data, folder: str, features: dict):
    """The builder and its config of all corpora but IEMOCAP and the demo alone."""
    from ser_jax.datasets import manifest_builder as builders

    features = {"tfds_dir": folder, **features}
    if data.corpus == "multi":
        corpora = _corpora(data, folder)
        config = builders.SeveralConfig(corpora=corpora, strict=data.strict, **features)
        return builders.Several, config
    if data.corpus == "manifest":
        path = os.path.abspath(os.path.expanduser(data.manifest))
        return builders.Manifest, builders.ManifestConfig(manifest=path, **features)
    config = builders.NamedConfig(corpus=data.corpus, root=data.root, **features)
    return builders.Named, config


def _corpora(data, folder: str) -> dict[str, str]:
    """`data.corpora` by name, the demo made."""
    corpora = several.parse(data.corpora)
    if corpora.get("demo") == "":  # else a copy of it
        corpora["demo"] = str(_demo(data, folder))
    return corpora


def _demo(data, folder: str) -> Path:
    """The synthetic corpus, made below the folder of datasets unless it is there."""
    from ser_jax.corpora import demo

    turns, seed = data.demo_turns, data.demo_seed
    corpus = Path(folder, "demo", f"turns{turns}_seed{seed}", "corpus")
    with locking.lock(corpus, _SETTING):
        return demo.make(corpus, turns=turns, seed=seed)


def _iemocap_root(data, builder) -> str | None:
    """The release's folder; None if it is gone but the dataset is there."""
    try:
        return str(iemocap.find_root(data.root))
    except InputError:
        if data.root or not builder.is_prepared():
            raise
        return None


def _check_unchanged(builder, root: str, remote: str) -> None:
    import tensorflow_datasets as tfds

    current, target = builder.fingerprint(root), Path(builder.data_dir)
    stored = tfds.builder_from_directory(target).info.metadata["fingerprint"]
    if current != stored:
        also = f" and {remote}, of which it is a copy," if remote else ""
        raise InputError(
            f"{target} was built from another corpus than {root}: expected fingerprint "
            f"{stored}, got {current} (files came, went or changed). Delete that "
            f"folder{also} to build again, or set --config.data.tfds_dir."
        )


def _beam_options(text: str, folder: str):
    if not importlib.util.find_spec("apache_beam"):
        raise InputError(
            f"--beam={text}: expected Apache Beam, got an installation without it. "
            "Run `pip install -e '.[beam]'`, or build without --beam."
        )
    from ser_jax.datasets import beam_map

    options = beam_map.parse_options(text)
    if bucket.is_remote(folder) and not beam_map.runs_here(options):
        raise InputError(
            f"--beam={text}: expected data.tfds_dir in a folder that all workers mount, "
            f"got {folder}, of which only this machine has the copy where they would "
            "write. Build in such a folder and copy the dataset there."
        )
    return options


@clock.part("features")
def _build(builder, root: str | None, data, beam_options) -> None:
    import tensorflow_datasets as tfds

    if data.file_format == "tfrecord" and not importlib.util.find_spec("tensorflow"):
        raise InputError(
            "data.file_format=tfrecord: expected TensorFlow, which writes TFRecords, "
            "got an installation without it. Run `pip install -e '.[tfrecord]'` or "
            "set --config.data.file_format=array_record."
        )
    if data.recognizer:
        transcription.versions(data.recognizer)  # missing packages show before the work
    target = Path(builder.data_dir)
    # TFDS writes to `incomplete.<random>_<version>`. We hold the dataset's lock, so such
    # a folder was left by a killed build.
    for folder in target.parent.glob(f"incomplete.*_{target.name}"):
        logging.getLogger(__name__).warning("removing unfinished build %s", folder)
        shutil.rmtree(folder)
    # TFDS prints that it downloads something of unknown size.
    with writing(target, _SETTING), contextlib.redirect_stdout(io.StringIO()):
        builder.download_and_prepare(
            file_format=data.file_format,
            download_config=tfds.download.DownloadConfig(
                manual_dir=root, beam_options=beam_options
            ),
        )
