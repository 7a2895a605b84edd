"""The synthetic corpus is IEMOCAP's layout, reproducible and made once."""

import collections
import importlib.util
import json

import pytest
import soundfile

from ser_jax.corpora import demo, iemocap
from ser_jax.corpora.demo_script import VOICES, plan
from ser_jax.errors import InputError

needs_espeak = pytest.mark.skipif(
    importlib.util.find_spec("espeakng_loader") is None,
    reason="espeakng-loader is not installed (extra `demo`)",
)
TURNS = 2


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return demo.make(tmp_path_factory.mktemp("demo") / "tree", turns=TURNS, seed=3)


def contents(root):
    return {
        str(file.relative_to(root)): file.read_bytes()
        for file in sorted(root.rglob("*"))
        if file.is_file()
    }


@needs_espeak
def test_reader_takes_it_for_iemocap(root):
    excluded = []
    turns = list(iemocap.read(root, excluded=excluded))
    assert len(turns) == 5 * 5 * TURNS
    assert {u.speaker for u in turns} == set(VOICES)
    assert {u.session for u in turns} == {f"session{n}" for n in range(1, 6)}
    assert {u.emotion for u in turns} == set(iemocap.LABELS)
    assert {u.style for u in turns} == {"improvised", "scripted"}
    assert {u.mocap_side for u in turns} == {"F", "M"}
    assert all(u.text and u.rater_labels for u in turns)
    assert all(1 <= u.valence <= 5 and 1 <= u.dominance <= 5 for u in turns)
    assert [(e.id, e.reason) for e in excluded] == [
        ("Ses01F_impro01_M900", "missing wav")
    ]
    assert iemocap.is_synthetic(root)


@needs_espeak
def test_recordings_are_speech_at_16_khz_as_long_as_labelled(root):
    for turn in iemocap.read(root):
        samples, rate_hz = soundfile.read(turn.wav)
        assert rate_hz == 16000
        assert samples.ndim == 1
        assert 0.3 < len(samples) / rate_hz < 6.0
        # Label files round times to 0.1 ms, twice.
        assert turn.end_s - turn.start_s == pytest.approx(
            len(samples) / rate_hz, abs=2e-4
        )
        assert 0.005 < samples.std() < 0.5


@needs_espeak
def test_every_pitfall_is_there(root):
    names = [file.relative_to(root).as_posix() for file in root.rglob("*")]
    labels = "Session1/dialog/EmoEvaluation"
    assert f"{labels}/._Ses01F_impro01.txt" in names
    assert any("sentences/wav" in n and "/._" in n for n in names)
    assert f"{labels}/.DS_Store" in names
    for kind in ("Categorical", "Attribute", "Self-evaluation"):
        assert (root / labels / kind).is_dir()
    assert "Session3/dialog/EmoEvaluation/Ses03M_impro05a.txt" in names
    assert "Session5/dialog/EmoEvaluation/Ses05F_script01_1b.txt" in names
    transcript = root / "Session1/dialog/transcriptions/Ses01F_script01_1.txt"
    lines = transcript.read_text("utf-8").splitlines()
    assert any("_FXX0 [" in line for line in lines)
    assert any(line.startswith("M: ") for line in lines)
    starts = []
    for file in sorted((root / labels).glob("Ses*.txt")):
        header, *rows = file.read_text("utf-8").splitlines()
        assert header.startswith("% [START_TIME")
        rows = [row for row in rows if row.startswith("[")]
        starts.append([float(row[1:].split(" ")[0]) for row in rows])
    assert any(times != sorted(times) for times in starts)
    assert "I told you once: I was at work." in {u.text for u in iemocap.read(root)}


@needs_espeak
def test_complete_corpus_is_left_alone(root):
    file = root / "Session1" / "kept.txt"
    file.write_text("x", "utf-8")
    assert demo.make(root, turns=TURNS, seed=3) == root
    assert file.exists()
    file.unlink()


@needs_espeak
def test_another_corpus_is_replaced_by_the_same_bytes(root, tmp_path):
    folder = tmp_path / "tree"
    folder.mkdir()
    (folder / iemocap.SYNTHETIC_MARKER).write_text("{}", "utf-8")
    (folder / "old.txt").write_text("x", "utf-8")
    demo.make(folder, turns=TURNS, seed=3)
    assert contents(folder) == contents(root)  # spoken in another process
    facts = json.loads((folder / iemocap.SYNTHETIC_MARKER).read_text("utf-8"))
    assert (facts["turns"], facts["seed"]) == (TURNS, 3)
    assert [file.name for file in tmp_path.iterdir()] == ["tree"]  # no scratch left


def test_foreign_folder_is_refused(tmp_path):
    (tmp_path / "thesis.txt").write_text("x", "utf-8")
    with pytest.raises(InputError, match="something else"):
        demo.make(tmp_path, turns=2, seed=0)
    assert (tmp_path / "thesis.txt").exists()


def test_missing_synthesiser_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"pip install -e '.\[demo\]'"):
        demo.make(tmp_path / "tree", turns=2, seed=0)


@needs_espeak
def test_broken_synthesiser_leaves_nothing(tmp_path, monkeypatch):
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "espeakng_loader.py").write_text("raise OSError('broken')\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "site"))
    with pytest.raises(InputError, match="broken"):
        demo.make(tmp_path / "out" / "tree", turns=2, seed=0)
    assert list((tmp_path / "out").iterdir()) == []


def test_too_few_turns_are_refused(tmp_path):
    with pytest.raises(InputError, match="demo_turns"):
        demo.make(tmp_path / "tree", turns=1, seed=0)


def test_four_classes_are_balanced_for_every_speaker():
    merged = {"exc": "hap"}
    for session in range(1, 6):
        for letter in "FM":
            labels = [
                merged.get(t.emotion, t.emotion)
                for t in plan(session, turns=12, seed=0)
                if t.id.rpartition("_")[2].startswith(letter)
            ]
            counts = collections.Counter(labels)
            assert [counts[e] for e in ("neu", "hap", "sad", "ang")] == [6, 6, 6, 6]


def test_scripts_are_the_same_in_every_session():
    texts = [
        [t.text for t in plan(session, turns=6, seed=0) if "script" in t.dialog]
        for session in range(1, 6)
    ]
    assert all(spoken == texts[0] for spoken in texts)


def test_another_seed_is_another_corpus():
    first, second = (list(plan(1, turns=4, seed=seed)) for seed in (0, 1))
    assert [t.speech for t in first] != [t.speech for t in second]
