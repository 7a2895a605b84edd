"""Stored configs: read back, and compared with what is asked for now."""

import os

from ml_collections import ConfigDict
from ml_collections.config_dict import placeholder

from ser_jax.errors import InputError
from ser_jax.workdir import files

# Keys that say where and how fast, never what: a training may resume with others.
MAY_CHANGE = frozenset(
    {
        "data.cache_dir",
        "data.device_share",
        "data.num_workers",
        "data.frames_on",
        "data.manifest",
        "data.root",
        "data.tfds_dir",
        "encoder.remat",
        "encoder.weights",  # their digest may not
        "model.attention_implementation",
        "train.baseline",
        "train.checkpoint_epochs",
        "train.checkpoint_updates",
        "train.devices",
        "train.eval_batch_size",
        "train.profile_steps",
        "train.runs_per_call",
        "train.runs_per_device",
        "train.steps_per_call",
    }
)


# Keys that hold a path, which every folder that a command is given in must find.
_PATHS = {"cache_dir", "manifest", "root", "tfds_dir"}
_PATHS |= {"speaker_embeddings", "word_vectors"}
# What was done before these keys existed.
_OLDER_DEFAULTS = {
    "data": {
        "keep_silent": True,
        "duplicates": "ignore",
        "merge_spellings": False,
        "level": "as_is",
        "taxonomy": "",
        "corpora": None,
        "label_maps": None,
    },
    "encoder": {
        "weights": "",
        "digest": "",
        "layers": (),
        "pool_s": 0.1,
        "tuning": "frozen",
        "lora_rank": 8,
        "lora_alpha": 16.0,
        "learning_rate_factor": 1.0,
        "layer_decay": 1.0,
        "train_front": False,
        "mask_share": 0.0,
        "mask_steps": 10,
        "mask_channel_share": 0.0,
        "mask_channels": 10,
        "remat": False,
        "dtype": "float32",
    },
    "protocol": {"compare_selections": False},
    "train": {
        "halving": 0,
        "first_rung": 0.25,
        "ema_decay": 0.0,
        "l2": 0.0,
        "updates": 0,
        "validate_updates": 0,
        "warmup_updates": 0,
        "decay_updates": 0,
        "early_stop_updates": 0,
        "checkpoint_updates": 0,
    },
}
_CHOOSE_UTTERANCES = ("keep_silent", "duplicates", "merge_spellings")
# Their keys are names, which ConfigDict would read as its own.
_MAPS = ("label_map", "label_maps", "corpora")


def with_absolute_paths(config: ConfigDict) -> ConfigDict:
    """A copy whose files and folders can be found from everywhere."""
    config = config.copy_and_resolve_references()
    for key in _PATHS & {*config.data}:
        path = config.data[key]
        # `word_vectors` may also name a package.
        if path and (key != "word_vectors" or os.path.isfile(os.path.expanduser(path))):
            config.data[key] = _absolute(path)
            files.check_name(config.data[key], f"data.{key}")
    weights = config.encoder.weights  # or a package's name
    if weights and os.path.isdir(os.path.expanduser(weights)):
        config.encoder.weights = _absolute(weights)
    if config.data.corpora:
        places = {x: place and _absolute(place) for x, place in corpora(config.data)}
        with config.data.ignore_type():  # a dictionary or pairs
            config.data.corpora = tuple(places.items())
    return config.lock()


def corpora(data) -> tuple[tuple[str, str], ...]:
    """`data.corpora` as (name, folder or manifest); () if there is one corpus only."""
    given = data.corpora or ()
    return tuple(given.items() if hasattr(given, "items") else given)


def _absolute(path: str) -> str:
    return path if "://" in path else os.path.abspath(os.path.expanduser(path))


def corpus_names(data) -> tuple[str, ...]:
    """The names of all corpora of `config.data`; () for a manifest alone."""
    if data.corpus == "multi":
        return tuple(name for name, _ in corpora(data))
    return () if data.corpus == "manifest" else (data.corpus,)


def with_corpus_at(config: ConfigDict, corpus_path: str) -> ConfigDict:
    """A copy whose corpus is at `corpus_path`, a manifest or folder; '' = as it was.

    Of several corpora it is `name=path,name=path`, of those that have moved.

    Raises InputError if there is no manifest there, or the corpus is the demo.
    """
    config = config.copy_and_resolve_references()
    if corpus_path and config.data.corpora:
        with config.data.ignore_type():
            config.data.corpora = _moved(corpora(config.data), corpus_path)
        return with_absolute_paths(config)
    if corpus_path and config.data.corpus == "demo":
        raise InputError(
            f"--data: expected none, for the demo corpus is spoken anew; got {corpus_path}."
        )
    is_manifest = config.data.corpus == "manifest"
    if is_manifest and os.path.isdir(os.path.expanduser(corpus_path)):
        name = os.path.basename(config.data.manifest)
        corpus_path = os.path.join(corpus_path, name)
    if corpus_path:
        config.data["manifest" if is_manifest else "root"] = corpus_path
    config = with_absolute_paths(config)
    if is_manifest and not os.path.exists(config.data.manifest):
        raise InputError(
            f"expected the corpus at {config.data.manifest}; got no file there. If it "
            "has moved, set --data=..., its manifest or folder."
        )
    return config


def _moved(places, moved: str) -> tuple[tuple[str, str], ...]:
    places = dict(places)
    for pair in moved.split(","):
        name, _, path = pair.partition("=")
        if name.strip() not in places or not path.strip():
            raise InputError(
                f"--data: expected name=path,name=path with names of {', '.join(places)}"
                f"; got {pair!r}."
            )
        places[name.strip()] = path.strip()
    return tuple(places.items())


def as_config(stored: dict) -> ConfigDict:
    """The locked config of a `config.to_dict()` that went through JSON."""
    stored = _with_older_defaults(_tuples(stored))
    maps = {key: stored["data"].pop(key) for key in _MAPS}
    swept = stored.pop("sweep")
    config = ConfigDict(stored)
    config.sweep = placeholder(object)
    if swept is not None:
        config.sweep = swept
    for key, value in maps.items():
        config.data[key] = placeholder(object)
        if value is not None:
            config.data[key] = tuple(dict(value).items())
    if "weights" in config.model:  # whatever training started from, it is over
        config.model.weights = ""
    # Another machine may have other cores and accelerators.
    config.data.num_workers = config.train.devices = config.train.steps_per_call = 0
    config.train.runs_per_device = config.data.frames_on = "auto"
    if config.model.name == "area_attn":  # older workdirs do not have the key
        config.model.attention_implementation = "xla"
    return config.lock()


def _with_older_defaults(stored: dict) -> dict:
    """With the keys that came later, as what was done before they did."""
    stored = dict(stored)
    if "level" not in stored["data"] and stored["segment"]["rule"] == "tile":
        stored["segment"] = stored["segment"] | {"rule": "tile_padded"}
    stored.setdefault("sweep", None)
    for group, defaults in _OLDER_DEFAULTS.items():
        stored[group] = defaults | stored.get(group, {})
    return stored


def _tuples(value):
    """JSON has no tuples; configs have no lists."""
    if isinstance(value, dict):
        return {key: _tuples(item) for key, item in value.items()}
    if isinstance(value, list):
        return tuple(_tuples(item) for item in value)
    return value


def differences(stored: dict, requested: dict) -> list[str]:
    """A line per key that makes another experiment; both as JSON gives them.

    Of keys that did not exist when `stored` was written, those that choose utterances
    do not count: if it matters, the splits differ. Nor do figures that were published.
    """
    data = {key: requested["data"][key] for key in _CHOOSE_UTTERANCES}
    stored = stored | {"data": data | stored["data"]}
    stored, requested = flatten(_with_older_defaults(stored)), flatten(requested)
    for key in ("data.speaker_embeddings", "data.word_vectors"):
        path = stored.get(key)  # once stored as it was typed
        if path and requested.get(key) == _absolute(path):
            stored[key] = requested[key]
    for tree in (stored, requested):  # corpora may move
        if places := tree.get("data.corpora"):
            tree["data.corpora"] = sorted(name for name, _ in places)
    return [
        f"{key}: here {_typed(key, stored)}, asked for {_typed(key, requested)}"
        for key in sorted((stored.keys() | requested.keys()) - MAY_CHANGE)
        if stored.get(key) != requested.get(key) and not key.startswith("published.")
    ]


def _typed(key: str, flat: dict) -> str:
    """A value as people write it: `sweep` is kept as pairs."""
    value = flat.get(key)
    if key == "sweep" and value:
        value = {name: tuple(values) for name, values in value}
    return repr(value)


def flatten(tree: dict, prefix: str = "") -> dict:
    """Values by dotted key, as in `train.epochs`."""
    flat = {}
    for key, value in tree.items():
        if isinstance(value, dict):
            flat |= flatten(value, f"{prefix}{key}.")
        else:
            flat[prefix + key] = value
    return flat
