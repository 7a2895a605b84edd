"""Head fusion: ACNN and MACNN on 26 MFCC, AACNN's predecessors.

    python run.py --config=configs/head_fusion.py         # IEMOCAP, one session left out
    python run.py --config=configs/head_fusion.py:paper   # the paper's own protocol
    python run.py --config=configs/head_fusion.py:code    # what the authors released
    python run.py --config=configs/head_fusion.py:demo    # try it: needs no corpus
    python run.py --config=configs/head_fusion.py:emodb --config.data.root=...        # a GPU
    python run.py --config=configs/head_fusion.py:emodb_small --config.data.root=...  # two cores
    python run.py --config=configs/head_fusion.py --config.model.head=acnn

Published: WA 76.18, UA 76.36 on IEMOCAP's improvised turns, excited as happy (the code),
random 80/20 splits (speakers shared), epoch chosen on the test part.
"""

from ml_collections import ConfigDict

from configs import base, presets


def get_config(preset: str = "") -> ConfigDict:
    config = base.get_config()
    paper = "Xu et al. 2020, head fusion (MACNN)"
    presets.xu(config, paper=paper, wa=0.7618, ua=0.7636)
    presets.without_vtlp(config)
    config.data.recipe = "mfcc26"
    config.data.normalize = "fold"  # the code: none
    config.train.epochs = 50
    config.train.learning_rate = 1e-3
    config.train.schedule = "step"
    config.train.decay_epochs = 10
    config.train.l2 = 1e-6
    return presets.finish(
        config, "head_fusion", _model, PRESETS, preset, published_for=("paper", "code")
    )


def _model(model: ConfigDict) -> None:
    model.head = "macnn"  # macnn: fused heads | acnn: one map of weights
    model.heads = 4  # macnn: heads
    model.hidden = 64  # macnn: channels per head (the noise experiments' code: 32)
    model.softmax = "channels"  # macnn: channels (the code) | positions, over the map
    # max-pool (bands, frames) after the merge and conv2 ... conv5
    model.pools = ((1, 1), (2, 2), (2, 2), (1, 1), (1, 1))
    model.bn_momentum = 0.9  # of the running statistics


def _paper(config: ConfigDict) -> None:
    """Protocol and recipe of the released code, which are all that is known of either.

    Differs from it: kernels start from LeCun's normal and biases at 0 (there both from
    PyTorch's uniform, +- 1 / sqrt(inputs)); the rate falls after 10 epochs, 20, ...
    (there after 11, 21, ...).
    """
    presets.xu_paper(config)
    config.data.normalize = "none"


def _small(config: ConfigDict) -> None:
    """The network that two CPU cores can train."""
    config.model.width = 0.5
    # A softmax over channels leaves numbers near 1 / `hidden`, so few steps need to be
    # large: with 1e-3 the demo is half trained when it ends.
    config.train.learning_rate = 3e-3
    if config.data.corpus != "demo":  # a real corpus is small: more windows of it
        config.segment.train_step_s = 0.5


def _best(config: ConfigDict) -> None:
    config.model.width = 1.0


PRESETS = {
    "paper": _paper,
    "code": _paper,
    # Frames are 32 ms apart.
    **presets.on_free_speech(
        _small, _best, demo=30, emodb_small=60, emodb=40, masks=(6, 10)
    ),
}
