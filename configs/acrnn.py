"""ACRNN: 3-D convolutions, BLSTM and attention.

    python run.py --config=configs/acrnn.py         # IEMOCAP, ten speakers, one seed
    python run.py --config=configs/acrnn.py:paper   # the same with the paper's 5 seeds
    python run.py --config=configs/acrnn.py:code    # what the authors' code does
    python run.py --config=configs/acrnn.py:demo    # try it: needs no corpus
    python run.py --config=configs/acrnn.py:emodb --config.data.root=...

Published: UA 64.74 +- 5.44 (ten speakers, five seeds), and 82.82 on EMO-DB. An
independent re-run, with two convolutions, got 50.87 +- 11.41 on IEMOCAP.
"""

from ml_collections import ConfigDict

from configs import base, presets


def get_config(preset: str = "") -> ConfigDict:
    config = base.get_config()
    presets.log_mel_3d(config, paper="Chen et al. 2018, 3-D ACRNN", ua=0.6474)
    config.data.level = "unit"
    config.train.nesterov = True
    return presets.finish(config, "acrnn", _model, PRESETS, preset)


def _model(model: ConfigDict) -> None:
    conv_steps(model)
    model.attention = "linear"  # scores w . h | sigmoid: u * sigmoid(w . h + b)
    model.hidden_norm = "batch"  # of the layer of 64: batch | none (its code) | plain


def conv_steps(model: ConfigDict) -> None:
    """Keys of the layers that cnn3d_attn shares."""
    model.convs = 6  # one of 128 and five of 256 channels; the paper tried 1 to 7
    model.pool = (2, 2)  # bands, frames, after the first convolution | (4, 2): its code
    model.conv_norm = "none"  # none | batch | plain (batch without scale and bias)
    model.conv_activation = "leaky_relu"  # leaky_relu | relu | none
    model.linear_norm = "none"  # of the layer of 768: none | batch (its code) | plain
    model.linear_activation = "none"  # none | leaky_relu (its code) | relu
    model.dropout = 0.0  # before the output layer, in training
    model.bn_momentum = 0.9  # of the running statistics


def _paper(config: ConfigDict) -> None:
    config.protocol.seeds = (0, 1, 2, 3, 4)


def _code(config: ConfigDict) -> None:
    """What the authors released, where it differs from their paper.

    Its single fold tests speaker 5M; it votes by the maximum of logits, not posteriors.
    """
    presets.log_mel_3d_code(config)
    config.data.level = "as_is"
    config.model.pool = (4, 2)
    config.model.linear_norm = "batch"
    config.model.linear_activation = "leaky_relu"
    config.model.attention = "sigmoid"
    config.model.hidden_norm = "none"
    config.train.epochs = 250  # 5000 iterations of 60 windows, 1200 in an epoch
    config.train.batch_size = 60
    config.train.learning_rate = 1e-5
    config.train.nesterov = False


def small(config: ConfigDict) -> None:
    config.model.width = 0.25
    config.model.convs = 3
    config.model.pool = (4, 4)
    config.model.conv_norm = "batch"
    config.model.dropout = 0.3
    config.train.nesterov = False


PRESETS = {
    "paper": _paper,
    "code": _code,
    **presets.demo_and_emodb(small, demo_epochs=12, emodb_epochs=15),
}
