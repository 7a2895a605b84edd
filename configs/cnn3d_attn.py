"""Attention-based 3-D CNN: ACRNN's convolutions and attention, no recurrence.

    python run.py --config=configs/cnn3d_attn.py        # IEMOCAP, ten speakers
    python run.py --config=configs/cnn3d_attn.py:demo   # try it: needs no corpus
    python run.py --config=configs/cnn3d_attn.py:emodb --config.data.root=...        # a GPU
    python run.py --config=configs/cnn3d_attn.py:emodb_small --config.data.root=...  # two cores

Published: UA 63.93 with excited counted as happy, on one of the ten folds; the poster
does not say which.
"""

from ml_collections import ConfigDict

from configs import acrnn, base, presets


def get_config(preset: str = "") -> ConfigDict:
    config = base.get_config()
    paper = "M. Chen's poster, attention-based 3-D CNN (one fold)"
    presets.log_mel_3d(config, paper=paper, ua=0.6393, happy="hap+exc")
    config.train.nesterov = True
    return presets.finish(
        config, "cnn3d_attn", _model, PRESETS, preset, published_for=("",)
    )


def _model(model: ConfigDict) -> None:
    acrnn.conv_steps(model)
    model.attention_features = 768  # rows of W, not given; another system has 256
    model.attention_scale = 0.3  # lambda: 1 = plain softmax, 0 = mean over the steps


PRESETS = presets.on_free_speech(
    acrnn.small, acrnn.best, demo=12, emodb_small=25, emodb=40
)
