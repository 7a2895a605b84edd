"""A tiny HuBERT with random weights, in a folder as a hub has it."""

import json
from pathlib import Path

import safetensors.numpy

from configs import encoder
from tests.encoders import tiny_wav2vec2


def write(folder: Path, *, seed: int = 0) -> Path:
    """Fills a folder; another seed makes other weights."""
    config = tiny_wav2vec2.config_of("hubert")
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(config))
    tensors = tiny_wav2vec2.tensors(config, seed)
    safetensors.numpy.save_file(tensors, folder / "model.safetensors")
    return folder


def tiny_config(tones, datasets, folder: Path):
    """The real config of the system on the tones, with that encoder, shrunk."""
    config = encoder.get_config("emodb")
    config.data.corpus, config.data.manifest = "manifest", str(tones)
    config.data.tfds_dir, config.data.file_format = datasets, "array_record"
    config.data.vtlp_copies = 1
    config.encoder.weights, config.encoder.layers = str(folder), (1, 2)
    config.protocol.groups = 2
    config.model.attention_size, config.model.queries = 6, 2
    config.train.batch_size, config.train.epochs = 8, 2
    config.train.devices = 1
    return config


def tuned_config(tones, datasets, folder: Path):
    """That encoder inside of the model, with adapters that learn."""
    config = encoder.get_config("emodb_lora")
    config.data.corpus, config.data.manifest = "manifest", str(tones)
    config.data.tfds_dir, config.data.file_format = datasets, "array_record"
    config.encoder.weights, config.encoder.layers = str(folder), (1, 2)
    config.encoder.lora_rank, config.encoder.pool_s = 3, 0.1
    config.encoder.mask_share, config.encoder.mask_steps = 0.4, 3
    config.protocol.groups = 2
    config.segment.buckets = 1
    config.model.attention_size, config.model.pooling = 6, "attention"
    config.train.batch_size, config.train.epochs = 8, 2
    config.train.devices = 1
    return config
