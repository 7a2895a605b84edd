"""Whisper's states are made >= 1.5x faster than transformers makes them.

States of all layers of recordings, from samples in memory to the host, float32. Ours:
sorted by length, in batches of 16, padded to half seconds. The peer is transformers'
extractor and encoder on PyTorch, with our weights, in two ways:

- `padded to 30 s`, as its manual has it for Whisper and a user gets it: the faster of 1
  and 4 recordings at a time, on a few of them, of all lengths;
- `same batches`: ours, as long as their longest recording, which takes a change to
  Whisper's positions: what is left without the padding. (HuBERT takes batches and their
  masks as they are.)

Then gradients of all parameters, on the same batches. HuBERT has base's sizes and random
weights, stored in a folder first, since no package holds published ones; the time to
load that folder is a row of its own.

Each contestant has a process of its own, all take turns. Checked in every mode:
transformers gives our states for one recording, at every layer.

Bars on 2 CPU cores: Whisper >= 1.5x of `padded to 30 s`, loading <= 5 s.

    python -m benchmarks.encoders [--quick] [--out=encoders.json]

Real speech: SER_JAX_BENCHMARK_MANIFEST=/path/to/manifest.csv (16 kHz).
"""

import contextlib
import functools
import os
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import soundfile
from flax import nnx

from benchmarks import feature_peers, measure
from ser_jax.encoders import files as encoder_files
from ser_jax.encoders.load import load
from ser_jax.encoders.spec import RATE_HZ, read_spec

BATCH = 16
# Of the largest state: float32 through up to twelve layers, in another order.
TOLERANCE = 1e-3
INSTALL = "pip install -e '.[bench]'"
NAMES = ("whisper-tiny.en", "whisper-base")


def batches_of(waves: list[np.ndarray], multiple: int = 1) -> list[tuple]:
    """Recordings of similar length together: samples [B, N], lengths [B]."""
    found, order = [], sorted(waves, key=len)
    for start in range(0, len(order), BATCH):
        part = order[start : start + BATCH]
        longest = -(-len(part[-1]) // multiple) * multiple
        rows = [np.pad(wave, (0, longest - len(wave))) for wave in part]
        lengths = np.array([len(wave) for wave in part], np.int32)
        found.append((np.stack(rows), lengths))
    return found


def read(paths: list[str]) -> list[np.ndarray]:
    """Samples in float32."""
    return [soundfile.read(path, dtype="float32")[0] for path in paths]


def our_call(weights: str, paths: list[str], *, gradients: bool) -> Callable:
    """Makes what our contestant's process measures."""
    graphdef, params, rest = nnx.split(load(weights), nnx.Param, ...)
    batches = batches_of(read(paths), multiple=RATE_HZ // 2)

    def states(params, samples, lengths):
        return nnx.merge(graphdef, params, rest)(samples, lengths)[0]

    def loss(params, samples, lengths):
        return jnp.square(states(params, samples, lengths)).mean()

    run = jax.jit(jax.grad(loss) if gradients else states)

    def call():
        for samples, lengths in batches:
            found = run(params, samples, lengths)
            jax.block_until_ready(found) if gradients else np.asarray(found)

    return call


class Whisper:
    """transformers' encoder of a Whisper, with our weights."""

    def __init__(self, weights: str):
        import torch
        import transformers

        self.torch, sizes = torch, read_spec(weights).config
        config = transformers.WhisperConfig(
            d_model=sizes.width,
            encoder_layers=sizes.num_layers,
            encoder_attention_heads=sizes.num_heads,
            encoder_ffn_dim=sizes.ffn_width,
            num_mel_bins=sizes.num_mels,
            max_source_positions=sizes.num_positions,
            decoder_layers=1,  # not used
            decoder_attention_heads=sizes.num_heads,
        )
        self.encoder = transformers.WhisperModel(config).encoder.eval()
        tensors = encoder_files.read_tensors(weights)
        self.encoder.load_state_dict(
            {
                name.removeprefix("encoder."): torch.tensor(np.float32(tensor))
                for name, tensor in tensors.items()
            }
        )
        self.positions = self.encoder.embed_positions.weight.data
        self.extractor = transformers.WhisperFeatureExtractor()

    def whole(self, waves: list[np.ndarray]):
        """States of recordings padded to 30 s."""
        self._cut(len(self.positions))
        return self._states(waves, padding="max_length")

    def batch(self, samples: np.ndarray, lengths: np.ndarray):
        """States of a batch as long as its longest recording."""
        steps = (samples.shape[1] // 160 + 1) // 2
        self._cut(steps)
        # An even number of frames, which the encoder insists on.
        samples = np.pad(samples, ((0, 0), (0, 320)))[:, : steps * 320]
        return self._states(list(samples), padding=False)

    def _states(self, waves, padding):
        options = {"sampling_rate": RATE_HZ, "return_tensors": "pt"}
        mel = self.extractor(waves, padding=padding, **options).input_features
        return self.encoder(mel, output_hidden_states=True).hidden_states

    def _cut(self, steps: int) -> None:
        table = self.encoder.embed_positions
        table.weight.data, table.num_embeddings = self.positions[:steps], steps
        self.encoder.config.max_source_positions = steps


class Hubert:
    """transformers' HuBERT of a folder."""

    def __init__(self, folder: str):
        import torch
        import transformers

        self.torch = torch
        self.encoder = transformers.HubertModel.from_pretrained(folder).eval()
        self.extractor = transformers.Wav2Vec2FeatureExtractor(
            do_normalize=False, return_attention_mask=True
        )

    def batch(self, samples: np.ndarray, lengths: np.ndarray):
        """States of a padded batch."""
        waves = [x[:n] for x, n in zip(samples, lengths, strict=True)]
        options = {"sampling_rate": RATE_HZ, "return_tensors": "pt", "padding": True}
        inputs = self.extractor(waves, **options)
        return self.encoder(**inputs, output_hidden_states=True).hidden_states


def peer(weights: str) -> Whisper | Hubert:
    """The same encoder, by transformers."""
    import torch

    torch.set_num_threads(len(os.sched_getaffinity(0)))
    return Whisper(weights) if weights in NAMES else Hubert(weights)


def whole_call(weights: str, paths: list[str], *, at_once: int) -> Callable:
    """Makes what a user of transformers would run."""
    theirs, waves = peer(weights), read(paths)

    def call():
        with theirs.torch.inference_mode():
            for start in range(0, len(waves), at_once):
                found = theirs.whole(waves[start : start + at_once])
                [states.numpy() for states in found]

    return call


def batch_call(weights: str, paths: list[str], *, gradients: bool) -> Callable:
    """Makes the same on our batches."""
    theirs, batches = peer(weights), batches_of(read(paths))

    def call():
        with theirs.torch.set_grad_enabled(gradients):
            for samples, lengths in batches:
                found = theirs.batch(samples, lengths)
                if gradients:
                    theirs.encoder.zero_grad()
                    theirs.torch.stack(found).square().mean().backward()
                else:
                    [states.numpy() for states in found]

    return call


def check(weights: str, path: str) -> float:
    """Largest difference to transformers of one recording's states, of the largest."""
    (wave,) = read([path])
    wave = wave[: len(wave) // 320 * 320]  # an even number of Whisper's frames
    ours = load(weights)
    found, _ = jax.jit(lambda *given: ours(*given))(wave[None], np.array([len(wave)]))
    theirs = peer(weights)
    with theirs.torch.inference_mode():
        states = theirs.batch(wave[None], np.array([len(wave)]))
    worst = 0.0
    for mine, other in zip(found, states, strict=True):
        off = np.abs(np.asarray(mine) - other.numpy()).max() / other.abs().max().item()
        worst = float(np.maximum(worst, off))
    if not worst <= TOLERANCE:
        raise SystemExit(f"{weights}: transformers' states differ: {worst:g}")
    return worst


def has_peer() -> bool:
    """Whether transformers is installed; says how to install it if not."""
    try:
        import torch  # noqa: F401
        import transformers
    except ImportError:
        print(f"torch and transformers are absent: {INSTALL}", file=sys.stderr)
        return False
    transformers.logging.set_verbosity_error()
    return True


def makers(weights: str, paths: list[str], *, gradients: bool, peers: bool) -> dict:
    """Contestants: label -> (function that makes it, its recordings, its options)."""
    found = {"ours": (our_call, paths, {"gradients": gradients})}
    if peers:
        found["same batches"] = (batch_call, paths, {"gradients": gradients})
    if peers and weights in NAMES and not gradients:
        some = paths[:: max(1, len(paths) // 4)][:4]
        for count in (1, 4):
            label = f"padded to 30 s, {count} at once"
            found[label] = (whole_call, some, {"at_once": count})
    return found


def row_of(name: str, weights: str, paths: list[str], rounds: int, **options) -> dict:
    """One encoder, ms a recording; options as of `makers`."""
    made = makers(weights, paths, **options)
    row = {"encoder": name, "what": "gradients" if options["gradients"] else "states"}
    if options["peers"]:
        row["difference"] = check(weights, paths[0])
    with contextlib.ExitStack() as stack:
        calls = {
            label: stack.enter_context(measure.apart(make, weights, some, **own))
            # Starting a process for each takes longer than a quick measurement.
            if rounds > 1
            else make(weights, some, **own)
            for label, (make, some, own) in made.items()
        }
        took = measure.seconds(calls, rounds=rounds)
    each = {label: took[label].scaled(1e3 / len(made[label][1])) for label in made}
    padded = [each.pop(label) for label in made if label.startswith("padded")]
    if padded:
        each["padded to 30 s"] = min(padded, key=lambda spread: spread.median)
    for label, spread in each.items():
        row[f"{label} [ms]"] = spread
        if label != "ours":
            row[f"{label}, ratio"] = spread.median / each["ours"].median
    return row


def hubert_rows(paths: list[str], quick: bool, rounds: int) -> Iterator[dict]:
    """Base's size with random weights, from a folder; of two layers if `quick`."""
    import torch
    import transformers

    torch.manual_seed(0)
    config = transformers.HubertConfig(num_hidden_layers=2 if quick else 12)
    with tempfile.TemporaryDirectory() as folder:
        transformers.HubertModel(config).save_pretrained(folder)
        took = measure.seconds({"ours": lambda: load(folder)}, rounds=rounds)
        found = {"encoder": "hubert-base", "what": "loading"}
        found["ours [ms]"] = took["ours"].scaled(1e3)
        yield found
        options = {"gradients": False, "peers": True}
        yield row_of("hubert-base", folder, paths, rounds, **options)


def cases(quick: bool, folder: Path) -> list[measure.Case]:
    """A case per Whisper and pass, and one of HuBERT."""
    count, rounds = (4, 1) if quick else (64, 5)
    _, paths, _ = feature_peers.recordings(folder, count)
    found, peers = [], has_peer()
    for name in NAMES[:1] if quick else NAMES:
        for gradients in (False, True):
            options = {"gradients": gradients, "peers": peers}
            row = functools.partial(row_of, name, name, paths, rounds, **options)
            what = "gradients" if gradients else "states"
            found.append(measure.Case(f"{name} {what}", row))
    if peers:
        rows = functools.partial(hubert_rows, paths[: count // 4], quick, rounds)
        found.append(measure.Case("hubert-base", rows))
    return found


if __name__ == "__main__":
    measure.main(
        cases,
        doc=__doc__,
        name="encoders",
        packages=("jax", "jaxlib", "flax", "torch", "transformers", "numpy"),
    )
