"""A pretrained speech encoder, frozen or learning, and a small head.

    python run.py --config=configs/encoder.py:demo   # try it: needs no corpus
    python run.py --config=configs/encoder.py:emodb --config.data.root=...  # Whisper base
    python run.py --config=configs/encoder.py:emodb_small --config.data.root=...  # tiny.en
    python run.py --config=configs/encoder.py:emodb_layer --config.data.root=...  # base: one
    python run.py --config=configs/encoder.py:emodb_sum --config.data.root=...    # base: all
    python run.py --config=configs/encoder.py:emodb_lora --config.data.root=...   # learns
    python run.py --config=configs/encoder.py:emodb_tuned --config.data.root=...  # GPU
    python run.py --config=configs/encoder.py --config.encoder.weights=FOLDER   # IEMOCAP
    python run.py --config=configs/encoder.py:lora --config.encoder.weights=FOLDER   # too
    python run.py --config=configs/encoder.py:tuned --config.encoder.weights=FOLDER  # GPU

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
    config.data.vtlp_copies = 2
    config.augment.vtlp = "all"
    config.train.update(get_config().train)
    config.train.batch_size = 16


def _area(config: ConfigDict) -> None:
    """The layers that validation chose (docs/encoders.md)."""
    _on_speech(config)
    config.encoder.layers = (2, 3)
    config.encoder.pool_s = 0.4
    config.model.pooling = "area"


def _layer(config: ConfigDict) -> None:
    _on_speech(config)
    config.encoder.layers = (3,)


def _small(config: ConfigDict) -> None:
    _on_speech(config)
    config.encoder.weights = "whisper-tiny.en"
    config.encoder.layers = (2,)


def _sum(config: ConfigDict) -> None:
    _on_speech(config)
    config.encoder.pool_s = 0.4


def _demo(config: ConfigDict) -> None:
    _small(config)
    presets.without_vtlp(config)


def _tuned(config: ConfigDict) -> None:
    """Waveforms in, the encoder inside of the model; its corpus stays as it was set."""
    presets.without_vtlp(config)
    config.data.recipe = "waveform"
    config.data.normalize = "none"
    config.encoder.weights = "whisper-base"
    config.encoder.pool_s = 0.02
    config.encoder.mask_share, config.encoder.mask_steps = 0.05, 10
    config.segment.window_s = 12.0
    config.segment.buckets = 4  # a step costs what its longest utterance does
    config.model.pooling = "statistics"
    config.train.update(get_config().train)
    config.train.batch_size, config.train.eval_batch_size = 16, 16
    config.train.learning_rate = 1e-3
    config.train.weight_decay = 0.01
    config.train.grad_clip_norm = 1.0
    config.train.warmup_epochs = 1.0


def _lora(config: ConfigDict) -> None:
    """Rank 8 on all four projections, alpha twice the rank.

    Hu et al. 2021 (arXiv 2106.09685) adapt queries and values, and do not tune alpha.
    """
    _tuned(config)
    config.encoder.tuning = "lora"
    config.encoder.lora_rank, config.encoder.lora_alpha = 8, 16.0


def _full(config: ConfigDict) -> None:
    """For a GPU. The encoder's rate is 1e-5, the head's as above.

    Wagner et al. 2022 (arXiv 2203.07378) fine-tune with 1e-4 and the convolutions held;
    a corpus of 500 sentences gets less, the lower the layer.
    """
    _tuned(config)
    config.encoder.tuning = "full"
    config.encoder.learning_rate_factor = 0.01
    config.encoder.layer_decay = 0.9
    config.encoder.remat = True


PRESETS = {
    "demo": presets.chain(presets.on_demo, _demo, 20),
    "emodb": presets.chain(presets.on_emodb, _area, 40),
    "emodb_small": presets.chain(presets.on_emodb, _small, 40),
    "emodb_layer": presets.chain(presets.on_emodb, _layer, 40),
    "emodb_sum": presets.chain(presets.on_emodb, _sum, 40),
    "lora": presets.chain(_lora, 15),
    "tuned": presets.chain(_full, 15),
    "emodb_lora": presets.chain(presets.on_emodb, _lora, 15),
    "emodb_tuned": presets.chain(presets.on_emodb, _full, 15),
}
