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


def log_mel_3d(config: ConfigDict) -> None:
    """What the line of the 3-D ACRNN shares: 3 s windows of 300 x 40 x 3, ten speakers.

    The ACRNN paper's recipe, which the others take over; it does not say when training
    stops, so twenty epochs without a better validation UA end it.
    """
    config.data.recipe = "logmel40_3d"
    config.data.channels = 3
    config.data.normalize = "fold"
    config.data.vtlp_copies = 0
    config.augment.vtlp = "none"
    config.segment.rule = "tile"
    config.segment.window_s = 3.015  # 300 frames; 3 s are 299
    config.segment.train_step_s = 3.0
    config.segment.test_step_s = 3.0
    config.segment.vote = "max"
    config.protocol.subset = "improvised"
    config.protocol.happy = "hap"
    config.protocol.split = "speaker10"
    config.train.batch_size = 40
    config.train.learning_rate = 1e-4
    config.train.schedule = "constant"
    config.train.early_stop_epochs = 20


def log_mel_3d_code(config: ConfigDict) -> None:
    """Features, windows and sampling of that line's public code (systems.md 3.2)."""
    config.data.recipe = "logmel40_psf"
    config.data.pad = "before_norm"
    config.segment.rule = "first_last"
    config.segment.dense_classes = ("happy",)
    config.segment.train_step_s = 1.0
    config.train.sampling = "balanced"
    config.train.per_class = 300
    config.train.early_stop_epochs = 0
