"""ADRNN: dilated CNN with a residual block, BiLSTM, attention and center loss.

The paper's settings are not public; network and protocol are those of the re-run beside
ADSRNN (configs/adsrnn.py), which got UA 54.96 +- 8.96.

    python run.py --config=configs/adrnn.py         # IEMOCAP, ten speakers
    python run.py --config=configs/adrnn.py:code    # the re-run's code
    python run.py --config=configs/adrnn.py:demo    # try it: needs no corpus
    python run.py --config=configs/adrnn.py:emodb --config.data.root=...        # a GPU
    python run.py --config=configs/adrnn.py:emodb_small --config.data.root=...  # two cores
"""

from ml_collections import ConfigDict

from configs import adsrnn, base, presets


def get_config(preset: str = "") -> ConfigDict:
    config = base.get_config()
    paper = "Meng et al. 2019, ADRNN, re-run by donghyun1234"
    presets.log_mel_3d(config, paper=paper, ua=0.5496)
    # The paper's lambda and alpha are not known; these are the usual ones.
    config.train.center_weight = 0.01
    config.train.center_rate = 0.5
    return presets.finish(
        config, "adrnn", _model, PRESETS, preset, published_for=("", "code")
    )


def _model(model: ConfigDict) -> None:
    model.pool = (2, 4)  # bands, frames, after the first convolution
    model.lstm_features = 256  # per direction, as drawn | 128: its code
    model.attention_hidden = 1  # rows of W in u . relu(W h + b)
    model.attention_combine = "mean"  # over time | sum
    model.dropout = 0.0  # before the layer of 64, in training: its features stay whole
    model.bn_momentum = 0.9  # of the running statistics


def _code(config: ConfigDict) -> None:
    """The re-run's code: a squared error stands in for center loss."""
    adsrnn.code_recipe(config)
    config.train.center_weight = 0.0
    config.train.squared_error_weight = 0.01
    config.model.lstm_features = 128


def _small(config: ConfigDict) -> None:
    config.model.width = 0.25
    config.model.pool = (4, 4)
    config.model.dropout = 0.3


def _best(config: ConfigDict) -> None:
    config.model.width = 0.5


PRESETS = {
    "code": _code,
    **presets.on_free_speech(_small, _best, demo=12, emodb_small=35, emodb=35),
}
