"""The reader: a small tree with every pitfall, and one with the published counts."""

import collections

import pytest
import soundfile

from ser_jax.corpora import iemocap
from ser_jax.errors import InputError
from tests.corpora import iemocap_tree

LABELS = """% [START_TIME - END_TIME] TURN_NAME EMOTION [V, A, D]

[20.5000 - 22.2500]\tSes03M_impro05a_M001\txxx\t[2.5000, 3.0000, 3.5000]
C-E2:\tAnger; Sadness;\t()
C-F1:\tOther;\t(bored)
A-E3:\tval 2; act 3; dom  4;\t()

[6.2901 - 8.2357]\tSes03M_impro05a_F000\tneu\t[4.0000, 1.5000, 2.0000]
C-E2:\tNeutral;\t()

[9.0000 - 9.5000]\tSes03M_impro05a_F001\tang\t[1.0000, 5.0000, 5.0000]
[9.0000 - 9.5000]\tSes03M_impro05a_F002\tang
[nine - ten]\tSes03M_impro05a_F003\tang\t[1.0000, 5.0000, 5.0000]
[9.0000 - 9.5000]\tF004\tang\t[1.0000, 5.0000, 5.0000]
[9.0000 - 9.5000]\tSes03M_impro05a_F005\tang\t[1.0000, 5.0000]
[9.0000 - 9.5000]\tSes03M_impro05a_F006\tang\t1.0 5.0 5.0
[9.0000 - 9.5000]\tSes03M_impro05a_F004\tjoy\t[1.0000, 5.0000, 5.0000]
"""
TRANSCRIPT = """Ses03M_impro05a_F000 [006.2901-008.2357]: He said [sic]: go: now.
Ses03M_impro05a_FXX0 [008.3000-008.9000]: Hm.
M: Stray.
Ses03M_impro05a_M001 [020.5000-022.2500]: Why?
"""
SCRIPT = """% header

[1.0000 - 2.0000]\tSes05F_script01_1b_M000\thap\t[3.0000, 3.0000, 3.0000]
"""


def write(file, text):
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text, encoding="utf-8")


def add_wav(root, session, name):
    file = root / session / "sentences/wav" / name.rpartition("_")[0] / f"{name}.wav"
    file.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(file, [0.0] * 160, 16000)
    return file


@pytest.fixture
def root(tmp_path):
    labels = tmp_path / "Session3/dialog/EmoEvaluation"
    write(labels / "Ses03M_impro05a.txt", LABELS)
    write(labels / "._Ses03M_impro05a.txt", LABELS)
    write(labels / ".DS_Store", "x")
    write(labels / "Categorical/Ses03M_impro05a_e1_cat.txt", LABELS)
    write(labels / "Attribute.txt/Ses03M_impro05a_e1_atr.txt", LABELS)
    write(tmp_path / "Session3/dialog/transcriptions/Ses03M_impro05a.txt", TRANSCRIPT)
    write(tmp_path / "Session5/dialog/EmoEvaluation/Ses05F_script01_1b.txt", SCRIPT)
    add_wav(tmp_path, "Session3", "Ses03M_impro05a_M001")
    wav = add_wav(tmp_path, "Session3", "Ses03M_impro05a_F000")
    wav.with_name(f"._{wav.name}").write_bytes(b"AppleDouble")
    add_wav(tmp_path, "Session5", "Ses05F_script01_1b_M000")
    return tmp_path


def read(root, excluded=None):
    with pytest.warns(UserWarning, match="published number"):
        return list(iemocap.read(root, strict=False, excluded=excluded))


def test_turns_are_sorted_and_complete(root):
    first, second, third = read(root)
    assert first.id == "Ses03M_impro05a_F000"
    assert (first.speaker, first.gender, first.mocap_side) == ("3F", "F", "M")
    assert (first.session, first.style) == ("session3", "improvised")
    assert first.dialog == "Ses03M_impro05a"
    assert (first.start_s, first.end_s) == (6.2901, 8.2357)
    assert (first.valence, first.activation, first.dominance) == (4.0, 1.5, 2.0)
    assert first.language == "en"
    assert second.id == "Ses03M_impro05a_M001"
    assert (second.speaker, second.emotion) == ("3M", "xxx")
    assert third.id == "Ses05F_script01_1b_M000"
    assert (third.speaker, third.style, third.text) == ("5M", "scripted", "")


def test_wav_is_an_absolute_path_of_the_turn(root):
    wav = root / "Session3/sentences/wav/Ses03M_impro05a/Ses03M_impro05a_F000.wav"
    assert read(root)[0].wav == str(wav)


def test_transcript_keeps_colons(root):
    assert [u.text for u in read(root)[:2]] == ["He said [sic]: go: now.", "Why?"]


def test_rater_lines_belong_to_their_turn(root):
    first, second, _ = read(root)
    assert first.rater_labels == ("C-E2: Neutral",)
    assert second.rater_labels == (
        "C-E2: Anger; Sadness",
        "C-F1: Other (bored)",
        "A-E3: val 2; act 3; dom 4",
    )


def test_unusable_lines_are_listed_with_reasons(root):
    excluded = []
    read(root, excluded)
    assert excluded[0].id == "Ses03M_impro05a_F001"
    malformed = "malformed label line"
    reasons = ["missing wav", *[malformed] * 5, "unknown label"]
    assert [e.reason for e in excluded] == reasons
    assert "Ses03M_impro05a_F002" in excluded[1].id
    assert "got 3" in excluded[1].detail
    assert "'joy'" in excluded[6].detail


def test_duplicate_turn_names_both_files(root):
    copy = root / "Session5/dialog/EmoEvaluation/copy.txt"
    write(copy, SCRIPT)
    with pytest.raises(InputError, match="labelled twice") as caught:
        iemocap.read(root, strict=False)
    assert str(copy) in str(caught.value)
    assert "Ses05F_script01_1b.txt" in str(caught.value)


def test_missing_session_is_an_error_when_strict(root):
    with pytest.raises(InputError, match="lacks Session1, Session2, Session4"):
        iemocap.read(root)


def test_synthetic_tree_is_not_counted(root, recwarn):
    write(root / iemocap.SYNTHETIC_MARKER, "{}")
    assert iemocap.is_synthetic(root)
    assert len(list(iemocap.read(root))) == 3
    assert not recwarn.list


def test_release_folder_inside_the_root_is_found(root, tmp_path_factory):
    parent = tmp_path_factory.mktemp("corpora")
    root.rename(parent / "IEMOCAP_full_release")
    assert iemocap.find_root(str(parent)) == parent / "IEMOCAP_full_release"


def test_empty_root_takes_the_environment(root, monkeypatch):
    monkeypatch.setenv("IEMOCAP_ROOT", str(root))
    assert iemocap.find_root("") == root


@pytest.mark.parametrize("where", ["", "nowhere", "empty"])
def test_absent_corpus_says_how_to_get_it(tmp_path, monkeypatch, where):
    monkeypatch.delenv("IEMOCAP_ROOT", raising=False)
    (tmp_path / "empty").mkdir()
    root = str(tmp_path / where) if where else ""
    with pytest.raises(InputError) as caught:
        iemocap.find_root(root)
    message = str(caught.value)
    assert root in message
    assert "https://sail.usc.edu/iemocap/" in message
    assert "--config.data.root=" in message
    assert "IEMOCAP_ROOT" in message
    assert "python run.py --config=configs/area_attn.py:demo" in message


def test_tree_without_usable_turn_is_an_error(tmp_path):
    (tmp_path / "Session1").mkdir()
    with pytest.raises(InputError, match="no usable turn"):
        iemocap.read(tmp_path, strict=False)


@pytest.fixture(scope="module")
def turns(tmp_path_factory):
    root = iemocap_tree.write_tree(tmp_path_factory.mktemp("corpora") / "release")
    return list(iemocap.read(root))  # strict: this tree passes for the full release


def test_every_speaker_has_the_turns_that_were_written(turns):
    got = collections.Counter((u.speaker, u.style, u.emotion) for u in turns)
    for (speaker, style), row in iemocap_tree.published_counts().items():
        for emotion, count in row.items():
            assert got.pop((speaker, style, emotion)) == count
    assert not got


def test_difference_names_session_and_class(turns):
    place = next(
        i
        for i, u in enumerate(turns)
        if (u.session, u.emotion, u.style) == ("session4", "exc", "scripted")
    )
    fewer = turns[:place] + turns[place + 1 :]
    with pytest.raises(InputError) as caught:
        iemocap.check_counts(fewer, strict=True)
    message = str(caught.value)
    assert "session4 scripted exc: expected 74, got 73" in message
    assert message.count("expected") == 1
    assert "--config.data.strict=False" in message
    with pytest.warns(UserWarning, match="scripted exc: expected 74, got 73"):
        iemocap.check_counts(fewer, strict=False)
    with pytest.raises(InputError, match="scripted exc: expected 74, got 75"):
        iemocap.check_counts([*turns, turns[place]], strict=True)
