"""What is measured of a corpus, on one whose numbers a person can recompute."""

import collections

import pytest

from ser_jax.corpora import iemocap, source
from ser_jax.errors import InputError
from ser_jax.survey import survey
from tests.corpora import iemocap_tree
from tests.survey import tree


@pytest.fixture(name="emodb", scope="module")
def _emodb(tmp_path_factory):
    root = tree.write(tmp_path_factory.mktemp("emodb"))
    return survey.look(source.find("emodb", str(root)))


def test_recordings_are_measured(emodb):
    measured = {
        name: (x.seconds, x.rate_hz, x.channels, round(x.peak, 2))
        for name, x in emodb.recordings.items()
    }
    peaks = {name: x[-1] for name, x in measured.items()}
    assert {name: x[:-1] for name, x in measured.items()} == {
        "03a01Wa": (1.0, 16_000, 1),
        "03a02Fa": (1.0, 16_000, 1),
        "03b01Na": (2.0, 8_000, 2),
        "08a01Wa": (2.0, 16_000, 1),
        "08a02Na": (3.0, 16_000, 1),
        "08b01Na": (3.0, 16_000, 1),
    }
    assert peaks["08a02Na"] == 1.0 and peaks["08b01Na"] == 0.1
    assert emodb.seconds() == [1.0, 1.0, 2.0, 2.0, 3.0, 3.0]
    warned = {name for name, x in emodb.recordings.items() if x.warnings}
    assert warned == {"08a02Na"}
    assert emodb.recordings["08a02Na"].warnings[0].startswith("clipped: ")


def test_counts_are_by_speaker_gender_and_class(emodb):
    assert emodb.counts() == {
        ("03", "M"): collections.Counter(anger=1, happiness=1, neutral=1),
        ("08", "F"): collections.Counter(anger=1, neutral=2),
    }
    assert emodb.classes()[:2] == ["anger", "boredom"]  # published, so expected


def test_what_is_left_out_has_its_reason(emodb):
    reasons = {item.reason: item.id for item in emodb.excluded}
    assert reasons == {
        "second copy": "03a01Wa",
        "silent audio": "08b02Na",
        "truncated audio": "16a01Wa",
    }
    assert len(emodb.excluded) == 3


def test_copies_are_found(emodb):
    assert emodb.equal == [("03a01Wa", "03a02Fa")]
    assert emodb.near_duplicates == [("08a02Na", "08b01Na")]


def test_speakers_are_sorted_as_people_count(tmp_path):
    for name in ("9", "10", "b", "a"):
        tree.soundfile.write(tmp_path / f"{name}.wav", tree.tone(300, 1), 16_000)
    rows = [f"{name}.wav,x,{name}" for name in ("b", "10", "a", "9")]
    text = "\n".join(["path,emotion,speaker", *rows])
    (tmp_path / "m.csv").write_text(text)
    looked = survey.look(source.find(str(tmp_path / "m.csv"), ""))
    assert [speaker for speaker, _ in looked.counts()] == ["9", "10", "a", "b"]


def test_labels_that_look_alike_are_found(tones, tmp_path):
    text = tones.read_text().replace("s1_low_0.wav,low,s1", "s1_low_0.wav,Low,s1")
    manifest = tones.with_name("alike.csv")
    manifest.write_text(text)
    (alike,) = survey.look(source.find(str(manifest), "")).spellings
    assert (alike.column, alike.counts) == ("emotion", {"Low": 1, "low": 15})


def test_iemocap_is_compared_with_its_published_counts(tmp_path):
    found = source.find("IEMOCAP", str(iemocap_tree.write_tree(tmp_path / "i")))
    counts = collections.Counter(u.emotion for u in found.utterances)
    both = [sum(row) for row in zip(*iemocap_tree.BOTH.values(), strict=True)]
    published = dict(zip(iemocap_tree.EMOTIONS, both, strict=True))
    assert found.published == published
    assert {name: counts[name] for name in published} == published
    assert {*published} == {*iemocap.COUNTED}


@pytest.mark.parametrize(
    ("name", "root", "words"),
    [
        ("ravdes", "", "got 'ravdes'. Did you mean ravdess"),
        ("xyzzy", "", "`python run.py corpora` lists the names"),
        ("none.csv", "", "none.csv: No such file"),
        ("none.csv", "x", "--root goes with the name of a corpus"),
        ("emodb", "/no/such", "no folder at /no/such"),
        ("EMO-DB", "", "--root and EMODB_ROOT are empty"),
        ("iemocap", "", "--root and IEMOCAP_ROOT are empty"),
    ],
)
def test_what_cannot_be_found_is_said(name, root, words, monkeypatch):
    monkeypatch.delenv("EMODB_ROOT", raising=False)
    monkeypatch.delenv("IEMOCAP_ROOT", raising=False)
    with pytest.raises(InputError) as error:
        source.find(name, root)
    assert words in str(error.value) and "data.root" not in str(error.value)


def test_a_corpus_of_nothing_usable_is_refused(tmp_path):
    (tmp_path / "03a01Wa.wav").write_bytes(b"")
    with pytest.raises(InputError, match="none of 1; 03a01Wa: empty audio"):
        survey.look(source.find("emodb", str(tmp_path)))
