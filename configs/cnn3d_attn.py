"""Attention-based 3-D CNN: ACRNN's convolutions and attention, no recurrence.

Poster: Meiying Chen, "Speech Emotion Recognition with attention-based 3-D CNN",
University of Rochester.

    python run.py --config=configs/cnn3d_attn.py        # IEMOCAP, ten speakers
    python run.py --config=configs/cnn3d_attn.py:demo   # try it: needs no corpus
    python run.py --config=configs/cnn3d_attn.py:emodb --config.data.manifest=...

Published: UA 63.93 on IEMOCAP's improvised turns, excited counted as happy (2943
utterances), one speaker left out: one fold only of the ten, which one is not said.
"""

from ml_collections import ConfigDict

from configs import base, presets


def get_config(preset: str = "") -> ConfigDict:
    """The poster's model; where it is silent, ACRNN's recipe. Or one of `PRESETS`."""
    config = base.get_config()
    config.published.paper = "M. Chen's poster, attention-based 3-D CNN (one fold)"
    config.published.ua = 0.6393
    config.published.corpus = "iemocap"
    config.published.subset = "improvised"
    config.published.happy = "hap+exc"
    config.published.split = "speaker10"
    config.published.selection = "val"

    presets.log_mel_3d(config)
    config.protocol.happy = "hap+exc"
    config.train.nesterov = True

    config.model.name = "cnn3d_attn"
    with config.model.unlocked():
        _model(config.model)
    return presets.apply(config, preset, PRESETS)


def _model(model: ConfigDict) -> None:
    model.convs = 6  # convolutions: one of 128 and five of 256 channels
    model.pool = (2, 2)  # bands, frames, after the first convolution
    model.conv_norm = "none"  # none | batch | plain (batch without scale and bias)
    model.conv_activation = "leaky_relu"  # leaky_relu | relu | none
    model.linear_norm = "none"  # of the layer of 768: none | batch | plain
    model.linear_activation = "none"  # none | leaky_relu | relu
    model.attention_features = 768  # rows of W, not given; another system has 256
    model.attention_scale = 0.3  # lambda: 1 = plain softmax, 0 = mean over the steps
    model.dropout = 0.0  # before the output layer, in training
    model.bn_momentum = 0.9  # of the running statistics, where there is a norm


def _demo(config: ConfigDict) -> None:
    """Synthetic speech, a quarter of the width, three convolutions, pooled more."""
    presets.demo(config)
    _small(config)
    config.train.epochs = 12


def _emodb(config: ConfigDict) -> None:
    """EMO-DB on a CPU."""
    presets.emodb(config)
    _small(config)
    config.train.epochs = 12


def _small(config: ConfigDict) -> None:
    """The network that two CPU cores can train."""
    config.model.width = 0.25
    config.model.convs = 3
    config.model.pool = (4, 4)
    config.model.conv_norm = "batch"
    config.model.dropout = 0.3
    config.train.nesterov = False


PRESETS = {"demo": _demo, "emodb": _emodb}
