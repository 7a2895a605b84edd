"""A new rule or normalisation is one edit: training, predict, explain, export agree."""

import jax
import numpy as np
import pytest

from configs import cnn3d_attn
from ser_jax.explain.explainer import Explainer
from ser_jax.explain.recording import segment_batches
from ser_jax.export import wave_model
from ser_jax.features import segments
from ser_jax.features.audio import load
from ser_jax.predict import forward
from ser_jax.predict.recognizer import Recognizer
from ser_jax.scoring import voting
from ser_jax.workdir import predictions
from tests import workdirs

LAST = segments.Rule(
    count=lambda _, num_frames, layout: 1 * (num_frames >= layout.frames),
    start=lambda number, num_frames, layout: (
        number + (num_frames - layout.frames).clip(0)
    ),
)
ADDED = {
    "rule": (segments.RULES, "last", LAST),
    "normalisation": (
        forward.NORMALIZERS,
        "center",
        lambda frames, mean, std: frames - mean,
    ),
    "vote": (
        voting.RULES,
        "sum",
        voting.Rule("add", lambda votes, count: votes.sum(-1)),
    ),
}
KEYS = {
    "rule": "segment.rule",
    "normalisation": "data.normalize",
    "vote": "segment.vote",
}
# Features from samples in JAX or in float64 by librosa, normalised and not.
SAME_FEATURES = 1e-5


@pytest.mark.parametrize("kind", ADDED)
def test_one_added_entry_serves_all_that_predicts(
    kind, tones, datasets, tmp_path, monkeypatch
):
    config = workdirs.small(cnn3d_attn, tones, datasets, "logmel64", "slide", 0.4)
    config.model.convs = 1
    table, name, entry = ADDED[kind]
    assert name not in table
    monkeypatch.setitem(table, name, entry)
    config.update_from_flattened_dict({KEYS[kind]: name})
    workdirs.evaluate_untrained(config, tmp_path)
    lines, _ = predictions.read(tmp_path / "predictions.csv")
    run = (lines[0].fold, lines[0].seed)
    lines = [line for line in lines if (line.fold, line.seed) == run][:5]

    recognizer = Recognizer.from_workdir(tmp_path, f"{run[0]},{run[1]}")
    trained = recognizer.trained
    explainer = Explainer(trained)
    program = jax.jit(wave_model.make(trained))
    for line in lines:
        path = tones.parent / f"{line.utterance}.wav"
        recording = recognizer.open(path)
        answer = recognizer.answer(recording)
        posteriors = np.concatenate(
            [
                explainer.posteriors(0, batch)[: batch.count]
                for batch in segment_batches(recognizer, recording)
            ]
        )
        explained = voting.vote(
            posteriors, np.zeros(len(posteriors), int), 1, config.segment.vote
        )[0]
        samples = np.zeros((1, 16_000), np.float32)
        sound = load(path, 16_000)
        samples[0, : len(sound)] = sound
        exported = program(samples, np.array([len(sound)], np.int32))[0]
        for result in (answer.probabilities, explained, exported):
            np.testing.assert_allclose(result, line.posteriors, atol=SAME_FEATURES)
