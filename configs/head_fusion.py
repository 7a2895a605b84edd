"""Head fusion: ACNN and MACNN on 26 MFCC, AACNN's predecessors.

Paper: Xu, Zhang, Khan, "Improve Accuracy of Speech Emotion Recognition with Attention
Head Fusion", CCWC 2020; Xu, Zhang, Zhang, "Head Fusion", IEEE Access 9, 2021.

    python run.py --config=configs/head_fusion.py         # IEMOCAP, one session left out
    python run.py --config=configs/head_fusion.py:paper   # the paper's own protocol
    python run.py --config=configs/head_fusion.py:demo    # try it: needs no corpus
    python run.py --config=configs/head_fusion.py:emodb --config.data.manifest=...
    python run.py --config=configs/head_fusion.py --config.model.head=acnn

Published: WA 76.18, UA 76.36 on IEMOCAP's improvised turns, excited as happy (the code),
random 80/20 splits (speakers shared), epoch chosen on the test part.
"""

from ml_collections import ConfigDict

from configs import base, presets


def get_config(preset: str = "") -> ConfigDict:
    """The paper's model under an honest protocol, or one of `PRESETS`."""
    config = base.get_config()
    config.published.paper = "Xu et al. 2020, head fusion (MACNN)"
    config.published.wa = 0.7618
    config.published.ua = 0.7636
    presets.xu_published(config)

    config.data.recipe = "mfcc26"
    config.data.normalize = "fold"  # the code: none
    config.data.vtlp_copies = 0
    config.augment.vtlp = "none"
    config.protocol.subset = "improvised"
    config.train.epochs = 50
    config.train.learning_rate = 1e-3
    config.train.schedule = "step"
    config.train.decay_epochs = 10
    config.train.weight_decay = 1e-6
    config.train.early_stop_epochs = 20
    return presets.finish(config, "head_fusion", _model, PRESETS, preset)


def _model(model: ConfigDict) -> None:
    model.head = "macnn"  # macnn: fused heads | acnn: one map of weights
    model.heads = 4  # macnn: heads
    model.hidden = 64  # macnn: channels per head (the noise experiments' code: 32)
    model.softmax = "channels"  # macnn: channels (the code) | positions, over the map
    # max-pool (bands, frames) after the merge and conv2 ... conv5
    model.pools = ((1, 1), (2, 2), (2, 2), (1, 1), (1, 1))
    model.bn_momentum = 0.9  # of the running statistics


def _paper(config: ConfigDict) -> None:
    presets.xu_paper(config)
    config.data.normalize = "none"


def _demo(config: ConfigDict) -> None:
    """Synthetic speech, half the width."""
    presets.demo(config)
    _small(config)


def _emodb(config: ConfigDict) -> None:
    """EMO-DB (or any small corpus with a manifest) on a CPU."""
    presets.emodb(config)
    _small(config)
    config.segment.train_step_s = 0.5


def _small(config: ConfigDict) -> None:
    """The network that two CPU cores can train.

    A softmax over channels leaves numbers near 1 / `hidden`, so few steps need to be
    large: with 1e-3 the demo is half trained when it ends.
    """
    config.model.width = 0.5
    config.train.epochs = 30
    config.train.learning_rate = 3e-3


PRESETS = {"paper": _paper, "demo": _demo, "emodb": _emodb}
