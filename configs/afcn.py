"""AFCN: a fully convolutional network with attention, and transfer from ImageNet.

    python run.py --config=configs/afcn.py           # IEMOCAP, ten speakers, from scratch
    python run.py --config=configs/afcn.py --config.model.weights=alexnet.safetensors
    python run.py --config=configs/afcn.py:demo      # try it: needs no corpus
    python run.py --config=configs/afcn.py:transfer  # the same, ImageNet weights
    python run.py --config=configs/afcn.py:emodb --config.data.root=...        # a GPU
    python run.py --config=configs/afcn.py:emodb_small --config.data.root=...  # two cores
    python run.py --config=configs/afcn.py:emodb_transfer --config.data.root=...

The presets with transfer take SqueezeNet 1.1 of the package ndf (extra `transfer`).
`weights` takes torchvision's AlexNet or SqueezeNet 1.1 as `.safetensors`; a `.pth` file
is converted once, where PyTorch is installed:

    import torch
    from safetensors.torch import save_file
    save_file(torch.load("alexnet.pth", weights_only=True), "alexnet.safetensors")

Published: WA 70.4, UA 63.9 on IEMOCAP with ImageNet weights; which turns, folds and
spectrogram is not known. Protocol, spectrogram, AdamW and its rate are those of the
public version (Ng).
"""

from ml_collections import ConfigDict

from configs import base, presets


def get_config(preset: str = "") -> ConfigDict:
    config = base.get_config()
    paper = "Zhang et al. 2018, AFCN with ImageNet weights"
    presets.publish(config, paper, wa=0.704, ua=0.639)
    presets.without_vtlp(config)
    config.data.recipe = "spectrogram200"
    config.data.normalize = "fold"  # ImageNet weights expect it
    config.segment.rule = "whole"
    config.segment.window_s = 35.0  # longer than every turn of IEMOCAP
    config.segment.buckets = 8
    config.protocol.subset = "improvised"
    config.protocol.happy = "hap"
    config.protocol.split = "speaker10"
    config.train.epochs = 200
    config.train.batch_size = 32
    config.train.learning_rate = 1e-4
    config.train.schedule = "constant"
    config.train.weight_decay = 0.01
    config.train.early_stop_epochs = 20
    return presets.finish(config, "afcn", _model, PRESETS, preset, published_for=("",))


def _model(model: ConfigDict) -> None:
    model.trunk = "alexnet_torchvision"  # | alexnet_original | squeezenet
    # ImageNet weights: '' = from scratch | a .safetensors file with torchvision's
    # names | ndf = the package, for trunk=squeezenet. Need width 1.
    model.weights = ""
    model.transfer = "finetune"  # finetune | frozen: the trunk stays as it starts
    model.attention_hidden = 256  # features of W
    model.attention_scale = 0.3  # lambda: 0 averages the cells, 1 = plain softmax
    model.hidden = 0  # features of a ReLU layer before the output; 0 = none | 256: Ng
    model.dropout = 0.0  # before the output layer, in training; 0.2: Ng


def _small(config: ConfigDict) -> None:
    _short(config)
    config.model.width = 0.25


def _squeezenet(config: ConfigDict) -> None:
    """With ImageNet weights: a smaller picture, the whole trunk tuned.

    Frozen it takes a tenth of the time: UA 0.4 on EMO-DB's first fold, tuned 0.6.
    """
    _short(config)
    config.data.recipe = "logmel64"
    config.model.trunk = "squeezenet"
    config.model.weights = "ndf"
    config.train.learning_rate = 3e-4


def _short(config: ConfigDict) -> None:
    """Windows and regularisation for two CPU cores and a small corpus."""
    config.segment.window_s = 9.0  # longer than every utterance of both corpora
    config.segment.buckets = 6
    config.model.dropout = 0.3
    config.train.weight_decay = 1e-4
    config.train.warmup_epochs = 1.0


def _best(config: ConfigDict) -> None:
    config.model.width = 0.5


PRESETS = {
    # 30 bands of 200 are the share that 6 are of 40.
    **presets.on_free_speech(
        _small, _best, demo=20, emodb_small=45, emodb=40, masks=(30, 30)
    ),
    "transfer": presets.chain(presets.on_demo, _squeezenet, 8),
    "emodb_transfer": presets.chain(presets.on_emodb, _squeezenet, 12),
}
