"""Loads an exported file in a clean process and compares its answers with ours."""

import itertools
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from etils import epath

from ser_jax.errors import InputError
from ser_jax.features import audio
from ser_jax.predict import sources
from ser_jax.workdir import files, predictions

TOLERANCE = 1e-4  # of a probability
_LONGEST_S = 20.0  # of a recording of the corpus
# The process may not reach for what a user of the file does not have.
_BLOCKED = ("ser_jax", "flax", "librosa", "tensorflow", "torch")
_PROCESS = """
import sys
for name in {blocked}:
    sys.modules[name] = None
path, inputs, outputs = sys.argv[1:]
{load}
import numpy as np
arrays = list(np.load(inputs, allow_pickle=False).values())
cases = zip(arrays[::2], arrays[1::2], strict=True)  # samples, lengths
np.savez(outputs, *[np.asarray(answer(*case)) for case in cases])
print(version)
"""


def check(live, form, content: bytes, longest: int) -> dict:
    """Gives the same recordings to a file of `form` and to the `Recognizer` `live`.

    `longest` is N of a program of fixed size, in samples; 0 = any. Returns the runtime,
    the recordings and the largest difference, for the card; raises InputError if the
    file cannot be loaded or an answer differs by more than 1e-4.
    """
    rate_hz = live.sample_rate_hz
    sounds, origin = _recordings(live.trained, rate_hz)
    window = round(live.trained.config.segment.window_s * rate_hz)
    # Shorter than a segment, as they are, and long: all of them in a row.
    sounds = [sounds[0][: window // 3], *sounds, np.concatenate(sounds)]
    sounds = [sound[: longest or None] for sound in sounds]
    expected = np.stack([live(sound, rate_hz).probabilities for sound in sounds])
    batches = [[i] for i in range(len(sounds))]
    if not form.is_fixed:  # the shortest and the longest alone, and all in one batch
        batches = [batches[0], batches[-1], list(range(len(sounds)))]
    cases = [_pad([sounds[i] for i in batch], longest) for batch in batches]
    answers, runtime = _answers(form, content, cases)
    difference = max(
        float(np.abs(answer - expected[batch]).max())
        for answer, batch in zip(answers, batches, strict=True)
    )
    if not difference <= TOLERANCE:
        raise InputError(
            f"Expected answers within {TOLERANCE:g} of the live model's; {runtime} "
            f"gives others, by {difference:.1e}. Nothing was written: use another "
            "--format."
        )
    return {
        "runtime": runtime,
        "recordings": origin,
        "seconds": [round(len(sound) / rate_hz, 3) for sound in sounds],
        "answers": sum(map(len, batches)),
        "largest_difference": difference,
        "tolerance": TOLERANCE,
    }


def _recordings(trained, rate_hz: int) -> tuple[list[np.ndarray], str]:
    """Three of the corpus, or synthetic ones where it is not here; where from."""
    data = trained.config.data
    place = data.manifest if data.corpus == "manifest" else data.root
    path = epath.Path(trained.provenance["workdir"]) / files.RECORDINGS
    try:
        paths = [x.wav for x in predictions.read_recordings(path).values()]
        if not paths:
            paths = [x.path for x in sources.expand([place] if place else [])]
        chosen = [paths[at] for at in (0, len(paths) // 2, -1)]
        sounds = [audio.load(path, rate_hz) for path in chosen]
    except (InputError, audio.AudioError, IndexError):
        return [_synthesize(rate_hz, seed) for seed in range(3)], "made sounds"
    longest = round(_LONGEST_S * rate_hz)
    return [sound[:longest] for sound in sounds], "recordings of the corpus"


def _synthesize(rate_hz: int, seed: int) -> np.ndarray:
    """A gliding voice-like tone with noise and pauses, 2 to 4 s."""
    rng = np.random.default_rng(seed)
    t = np.arange(round(rate_hz * rng.uniform(2, 4))) / rate_hz
    phase = 2 * np.pi * np.cumsum(150 + 40 * np.sin(3 * t)) / rate_hz
    tone = sum(np.sin(k * phase) / k for k in range(1, 20))
    loud = np.clip(np.sin(2 * np.pi * rng.uniform(1, 3) * t), 0, 1)
    return (0.1 * loud * tone + 0.003 * rng.standard_normal(len(t))).astype(np.float32)


def _pad(rows: list[np.ndarray], longest: int) -> tuple[np.ndarray, np.ndarray]:
    """Samples [B, N], with noise behind the lengths [B], which must not matter."""
    size = longest or max(map(len, rows))
    noise = np.random.default_rng(0).uniform(-1, 1, (len(rows), size))
    samples = noise.astype(np.float32)
    for row, values in zip(samples, rows, strict=True):
        row[: len(values)] = values
    return samples, np.array([len(values) for values in rows], np.int32)


def _answers(form, content: bytes, cases) -> tuple[list[np.ndarray], str]:
    """Answers of a process that has the runtime alone; the runtime's version."""
    with tempfile.TemporaryDirectory(prefix="ser_jax_export_") as folder:
        names = ("file", "inputs.npz", "outputs.npz")
        file, inputs, outputs = (Path(folder) / name for name in names)
        file.write_bytes(content)
        np.savez(inputs, *itertools.chain(*cases))
        code = _PROCESS.format(blocked=_BLOCKED, load=form.load)
        # -I: neither the current folder nor PYTHONPATH; the CPU, because a process may
        # not open an accelerator that this one holds.
        process = subprocess.run(
            [sys.executable, "-I", "-c", code, *map(str, (file, inputs, outputs))],
            check=False,
            env=os.environ | {"JAX_PLATFORMS": "cpu", "CUDA_VISIBLE_DEVICES": ""},
            capture_output=True,
            text=True,
        )
        if process.returncode or not outputs.exists():
            lines = process.stderr.strip().splitlines()
            problem = lines[-1] if lines else f"exit code {process.returncode}"
            raise InputError(
                "Expected the file to load in a process of its own; got: "
                f"{problem[:300]}. Nothing was written: use another --format."
            )
        with np.load(outputs, allow_pickle=False) as answers:
            return list(answers.values()), process.stdout.split("\n")[0]
