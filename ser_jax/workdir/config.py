"""The config of a trained workdir, from the plain values it was stored as."""

from ml_collections import ConfigDict
from ml_collections.config_dict import placeholder


def as_config(stored: dict) -> ConfigDict:
    """The locked config of `config.json` or of a checkpoint's `meta`.

    Args:
      stored: What `config.to_dict()` was, after JSON.
    """
    stored = _tuples(stored)
    label_map = stored["data"].pop("label_map")
    config = ConfigDict(stored)
    config.data.label_map = placeholder(object)
    if label_map is not None:  # its keys are a corpus's words, dots and all
        config.data.label_map = tuple(dict(label_map).items())
    if "weights" in config.model:  # whatever training started from, it is over
        config.model.weights = ""
    # Another machine may have other cores and accelerators.
    config.data.num_workers = config.train.devices = config.train.steps_per_call = 0
    config.train.runs_per_device = config.data.frames_on = "auto"
    if config.model.name == "area_attn":  # older workdirs do not have the key
        config.model.attention_implementation = "xla"
    return config.lock()


def _tuples(value):
    """JSON has no tuples; configs have no lists."""
    if isinstance(value, dict):
        return {key: _tuples(item) for key, item in value.items()}
    if isinstance(value, list):
        return tuple(_tuples(item) for item in value)
    return value
