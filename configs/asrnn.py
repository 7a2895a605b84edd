"""ASRNN: convolutions, a sliding BiLSTM, a recurrence and attention over its windows.

The paper's auditory front end is replaced by 3-D log-mels; network and protocol are
those of the re-run beside ADSRNN (configs/adsrnn.py), which got UA 54.67 +- 9.11 with
windows that start one step apart instead of five.

    python run.py --config=configs/asrnn.py         # IEMOCAP, ten speakers
    python run.py --config=configs/asrnn.py:code    # the re-run's code
    python run.py --config=configs/asrnn.py:demo    # try it: needs no corpus
    python run.py --config=configs/asrnn.py:emodb --config.data.root=...        # a GPU
    python run.py --config=configs/asrnn.py:emodb_small --config.data.root=...  # two cores
"""

from ml_collections import ConfigDict

from configs import adsrnn, base, presets


def get_config(preset: str = "") -> ConfigDict:
    config = base.get_config()
    paper = "Peng et al. 2020, ASRNN, re-run by donghyun1234"
    presets.log_mel_3d(config, paper=paper, ua=0.5467)
    return presets.finish(
        config, "asrnn", _model, PRESETS, preset, published_for=("", "code")
    )


def _model(model: ConfigDict) -> None:
    model.pool = (2, 2)  # bands, frames, after the first convolution
    model.window_size = 10  # steps of the pooled map that one window holds
    model.window_step = 5  # steps between the starts of two windows
    model.window_summary = "final"  # state of each direction | last_step: its code
    model.attention_hidden = 1  # rows of W in u . relu(W h + b)
    model.attention_combine = "sum"  # over the windows | mean: its code
    model.dropout = 0.0  # before the output layer, in training
    model.bn_momentum = 0.9  # of the running statistics


def _code(config: ConfigDict) -> None:
    adsrnn.code_recipe(config)
    config.model.window_summary = "last_step"
    config.model.attention_combine = "mean"


def _small(config: ConfigDict) -> None:
    config.model.width = 0.25
    config.model.pool = (4, 2)
    config.model.dropout = 0.3


def _best(config: ConfigDict) -> None:
    config.model.width = 0.5


PRESETS = {
    "code": _code,
    **presets.on_free_speech(_small, _best, demo=12, emodb_small=40, emodb=45),
}
