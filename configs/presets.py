"""What the presets of the systems have in common."""

from collections.abc import Callable, Mapping

from ml_collections import ConfigDict


def apply(
    config: ConfigDict, preset: str, presets: Mapping[str, Callable[[ConfigDict], None]]
) -> ConfigDict:
    """Makes a preset's changes and locks the config; '' changes nothing.

    Raises:
      ValueError: There is no such preset.
    """
    if preset:
        if preset not in presets:
            raise ValueError(
                f"Expected a preset of {', '.join(presets)} or none; got {preset!r}."
            )
        presets[preset](config)
    return config.lock()


def demo(config: ConfigDict) -> None:
    """Synthetic speech, every fold of `session5`, no perturbed copies."""
    config.data.corpus = "demo"
    config.data.vtlp_copies = 0
    config.data.normalize = "fold"
    config.protocol.subset = "all"
    config.protocol.happy = "hap+exc"
    config.protocol.split = "session5"
    config.augment.vtlp = "none"
    config.train.batch_size = 16
    config.train.schedule = "cosine"
    config.train.learning_rate = 1e-3
    config.train.early_stop_epochs = 0


def emodb(config: ConfigDict) -> None:
    """EMO-DB on a CPU: five groups of two speakers, each left out once."""
    config.data.corpus = "manifest"
    config.data.vtlp_copies = 0
    config.data.normalize = "fold"
    config.protocol.subset = "all"
    config.protocol.split = "group"
    config.protocol.groups = 5
    config.protocol.validation = "random"  # with ten speakers, eight should train
    config.augment.vtlp = "none"
    config.train.batch_size = 16
    config.train.schedule = "cosine"
    config.train.learning_rate = 1e-3
    config.train.early_stop_epochs = 0
