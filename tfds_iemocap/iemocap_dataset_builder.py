"""IEMOCAP in TFDS's folder convention; the work is in `ser_jax.datasets`."""

from typing import ClassVar

import tensorflow_datasets as tfds

from ser_jax.datasets import iemocap_builder, speech_builder
from ser_jax.datasets.speech_builder import SpeechConfig


class Builder(iemocap_builder.Iemocap):
    """IEMOCAP (Busso et al., 2008); one split per session."""

    # The first one is TFDS's default.
    BUILDER_CONFIGS: ClassVar = [
        SpeechConfig(recipe="logmel128", vtlp_copies=7),
        SpeechConfig(recipe="logmel128"),
        SpeechConfig(recipe="logmel128", samples=True),
        SpeechConfig(recipe="logmel128", vtlp_copies=7, vtlp_mode="nlpaug"),
        SpeechConfig(recipe="logmel64", vtlp_copies=7),
        SpeechConfig(recipe="logmel40_3d"),
        SpeechConfig(recipe="logmel40_3d", vtlp_copies=7),
        SpeechConfig(recipe="logmel40_psf"),
        SpeechConfig(recipe="mfcc26"),
        SpeechConfig(recipe="mfcc32_3d"),
        SpeechConfig(recipe="spectrogram200"),
        SpeechConfig(recipe="spectrogram400"),
    ]

    def _info(self) -> tfds.core.DatasetInfo:
        # README.md and CITATIONS.bib of this folder become the description.
        return self.dataset_info_from_configs(
            features=speech_builder.features_dict(self.builder_config),
            metadata=tfds.core.MetadataDict(),
        )
