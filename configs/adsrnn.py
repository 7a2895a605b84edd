"""ADSRNN: dilated CNN and attention-based sliding BiLSTM.

Source: github.com/donghyun1234/speech_emotion_recognition; the thesis behind it was not
found.

    python run.py --config=configs/adsrnn.py         # IEMOCAP, ten speakers
    python run.py --config=configs/adsrnn.py:code    # the public code's choices
    python run.py --config=configs/adsrnn.py:demo    # try it: needs no corpus
    python run.py --config=configs/adsrnn.py:emodb --config.data.root=...        # a GPU
    python run.py --config=configs/adsrnn.py:emodb_small --config.data.root=...  # two cores

Published: UA 62.75 +- 5.23. The code behind it runs its LSTM over the examples of a
batch and normalizes with statistics of another scale, which include most test speakers;
neither is imitated.
"""

from ml_collections import ConfigDict

from configs import base, presets


def get_config(preset: str = "") -> ConfigDict:
    config = base.get_config()
    # The source names no optimizer settings: they are those of the ACRNN paper, whose
    # 3-D log-mels and windows it takes over.
    presets.log_mel_3d(config, paper="donghyun1234, ADSRNN", ua=0.6275)
    return presets.finish(
        config, "adsrnn", _model, PRESETS, preset, published_for=("", "code")
    )


def code_recipe(config: ConfigDict) -> None:
    """Features, windows and optimizer of the public code, for all its systems.

    Differs from it: an epoch is 4 x 300 windows drawn anew (there the first 300 in file
    order); recordings are not scaled (there by their largest sample, but not those of
    its statistics); kernels start from LeCun's normal and biases at 0, in the LSTM as in
    Keras (there both from PyTorch's uniform, +- 1 / sqrt(inputs), of the LSTM +- 1 /
    sqrt(cells)).
    """
    presets.log_mel_3d_code(config)
    config.train.batch_size = 30
    config.train.epochs = 125  # 5000 iterations
    config.train.learning_rate = 1e-5
    config.train.beta1 = 0.5
    config.train.l2 = 1e-5


def _model(model: ConfigDict) -> None:
    model.pools = ((1, 1), (2, 1))  # bands, frames, after conv1 and conv2
    model.block_features = (128, 128, 128)  # of the dilated block; its code: 64 each
    model.conv_dropout = 0.0  # after the second convolution, in training
    model.window_steps = 30  # of the pooled map; must divide its length
    model.attention = "separate"  # W per window | shared
    model.heads = "separate"  # output layer per window | shared
    model.combination = "sum"  # of the windows' posteriors | cascade: last one 1/2
    model.train_logits = "log"  # of the posteriors | probability: a second softmax
    model.bn_momentum = 0.9  # of the running statistics


def _code(config: ConfigDict) -> None:
    """The public code, less its faults; its loss sees the posteriors as logits."""
    code_recipe(config)
    config.train.epochs = 100  # 4000 iterations
    config.train.squared_error_weight = 0.01
    config.model.block_features = (64, 64, 64)
    config.model.conv_dropout = 0.3
    config.model.combination = "cascade"
    config.model.train_logits = "probability"


def _small(config: ConfigDict) -> None:
    """An eighth of the width, a map pooled in time as well: still ten windows of 0.3 s."""
    config.model.width = 0.125
    config.model.pools = ((2, 2), (2, 1))
    config.model.window_steps = 15
    config.train.learning_rate = 3e-3  # slow to start: no batch norm after the LSTM


def _best(config: ConfigDict) -> None:
    config.model.width = 0.5


PRESETS = {
    "code": _code,
    **presets.on_free_speech(_small, _best, demo=12, emodb_small=45, emodb=35),
}
