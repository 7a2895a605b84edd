"""How well vectors name the corpus."""

import numpy as np
import pytest

from ser_jax.scoring import corpus_probe


def _three(rng, shift):
    corpora = np.repeat(["a", "b", "c"], [80, 40, 60])
    speakers = np.array([f"{name}{i % 5}" for i, name in enumerate(corpora)])
    vectors = rng.standard_normal((180, 7))
    vectors[:, 3] += shift * (corpora == "b") - shift * (corpora == "c")
    return vectors, corpora, speakers


def test_what_shows_is_found_and_what_does_not_is_chance():
    rng = np.random.default_rng(0)
    assert corpus_probe.accuracy(*_three(rng, 12.0)) > 0.98
    assert corpus_probe.accuracy(*_three(rng, 0.0)) < 0.45


def test_a_speaker_who_is_known_gives_no_corpus_away():
    """Vectors that name the speaker alone say nothing of the corpus of others."""
    rng = np.random.default_rng(1)
    _, corpora, speakers = _three(rng, 0.0)
    names, number = np.unique(speakers, return_inverse=True)
    vectors = 9 * rng.standard_normal((len(names), 7))[number]
    assert corpus_probe.accuracy(vectors, corpora, speakers) < 0.75
    alone = np.arange(len(corpora)).astype(str)  # as if all were different people
    assert corpus_probe.accuracy(vectors, corpora, alone) > 0.9


def test_a_corpus_of_one_speaker_is_split_by_utterance():
    vectors, corpora, speakers = _three(np.random.default_rng(2), 12.0)
    assert corpus_probe.unknown(corpora, speakers) == "speakers"
    speakers[corpora == "a"] = "a0"
    assert corpus_probe.unknown(corpora, speakers) == "utterances"
    assert corpus_probe.accuracy(vectors, corpora, speakers) > 0.98


def test_one_corpus_is_refused():
    with pytest.raises(ValueError, match="two corpora or more"):
        corpus_probe.accuracy(np.zeros((3, 2)), ["a"] * 3, ["s", "t", "u"])
