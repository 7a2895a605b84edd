"""A pretrained speech encoder, frozen, and a small head: weighted sum, or area attention.

    python run.py --config=configs/encoder.py:demo   # try it: needs no corpus
    python run.py --config=configs/encoder.py:emodb --config.data.root=...
    python run.py --config=configs/encoder.py:emodb_small --config.data.root=...
    python run.py --config=configs/encoder.py:emodb_sum --config.data.root=...
    python run.py --config=configs/encoder.py:emodb_area --config.data.root=...
    python run.py --config=configs/encoder.py --config.encoder.weights=FOLDER   # IEMOCAP

Whisper tiny.en and base come with the extra `encoders`; FOLDER is a hub's, with
`config.json` and `model.safetensors`: Whisper, wav2vec 2.0, HuBERT or WavLM. What loads,
what it needs and which layer knows emotion: docs/encoders.md.
"""

from ml_collections import ConfigDict

from configs import base, presets


def get_config(preset: str = "") -> ConfigDict:
    config = base.get_config()
    presets.without_vtlp(config)
    config.data.recipe = "encoder"
    config.data.channels = 0
    config.data.normalize = "fold"
    config.data.vtlp_mode = "speed"
    config.data.vtlp_low, config.data.vtlp_high = 0.85, 1.15
    config.encoder.weights = "whisper-base"
    config.segment.rule = "whole"
    config.segment.window_s = 35.0  # longer than every turn of IEMOCAP
    # Batches of one length would have statistics of their own in the batch norm.
    config.segment.buckets = 1
    config.train.epochs = 40
    config.train.learning_rate = 1e-2
    config.train.schedule = "cosine"
    config.train.weight_decay = 1.0
    config.train.class_weights = "balanced"
    return presets.finish(config, "encoder", _model, PRESETS, preset)


def _model(model: ConfigDict) -> None:
    model.pooling = "statistics"  # mean | statistics | attention | area
    model.layer_speed = 30.0  # how fast the weights of layers move; see `LayerSum`
    model.attention_size = 64  # of keys and values (area), of the scores' layer
    model.queries = 8  # area: that are learned
    model.max_area = (3, 3)  # area: neighbouring layers and frames
    model.hidden = 0  # features of a ReLU layer before the output; 0 = none
    model.dropout = 0.3
    model.bn_momentum = 0.9  # of the running statistics


def _on_speech(config: ConfigDict) -> None:
    """Keeps what the change before has set of the corpus, and this system's recipe."""
    recipe = get_config()
    config.data.vtlp_copies = 2
    config.augment.vtlp = "all"
    config.train.update(recipe.train)
    config.train.batch_size = 16


def _emodb(config: ConfigDict) -> None:
    """The layer that validation chose (docs/encoders.md)."""
    _on_speech(config)
    config.encoder.layers = (3,)


def _sum(config: ConfigDict) -> None:
    _on_speech(config)


def _area(config: ConfigDict) -> None:
    _on_speech(config)
    config.model.pooling = "area"


def _demo(config: ConfigDict) -> None:
    _on_speech(config)
    config.data.vtlp_copies = 0
    config.augment.vtlp = "none"
    config.encoder.weights = "whisper-tiny.en"


PRESETS = {
    "demo": presets.chain(presets.on_demo, _demo, 15),
    "emodb": presets.chain(presets.on_emodb, _emodb, 40),
    "emodb_small": presets.chain(presets.on_emodb, _emodb, 20),
    "emodb_sum": presets.chain(presets.on_emodb, _sum, 40),
    "emodb_area": presets.chain(presets.on_emodb, _area, 40),
}
