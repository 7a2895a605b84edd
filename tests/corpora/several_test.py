"""Several corpora as one."""

import csv

import pytest
import soundfile

from ser_jax.corpora import several
from ser_jax.errors import InputError
from tests.survey.tree import tone


@pytest.fixture
def places(tmp_path):
    """EMO-DB by its name, and two manifests that use the same ids and speakers."""
    wav = tmp_path / "emodb" / "wav"
    wav.mkdir(parents=True)
    for name in ("03a01Wa", "08a01Na"):
        soundfile.write(wav / f"{name}.wav", tone(300, 0.2), 16_000)
    found = {"emodb": str(tmp_path / "emodb")}
    for corpus in ("mine", "other"):
        folder = tmp_path / corpus
        folder.mkdir()
        soundfile.write(folder / "x1.wav", tone(500, 0.2), 16_000)
        with (folder / "all.csv").open("w", newline="") as file:
            rows = csv.writer(file)
            rows.writerow(("path", "emotion", "speaker", "corpus"))
            rows.writerow(("x1.wav", "angry", "03", "said"))
            rows.writerow(("gone.wav", "angry", "03", "said"))
        found[corpus] = str(folder / "all.csv")
    return found


def test_ids_speakers_and_sessions_are_told_apart(places):
    excluded = []
    read = several.read(places, strict=True, excluded=excluded)
    assert [(u.id, u.speaker, u.session, several.corpus_of(u)) for u in read] == [
        ("emodb/03a01Wa", "emodb/03", "emodb_session1", "emodb"),
        ("emodb/08a01Na", "emodb/08", "emodb_session1", "emodb"),
        ("mine/x1", "mine/03", "mine_session1", "mine"),
        ("other/x1", "other/03", "other_session1", "other"),
    ]
    assert [(x.id, x.reason) for x in excluded] == [
        ("mine/gone.wav", "missing wav"),
        ("other/gone.wav", "missing wav"),
    ]


def test_the_order_of_the_corpora_plays_no_part(places):
    turned = dict(reversed(places.items()))
    one, other = (several.read(x, strict=True, excluded=[]) for x in (places, turned))
    assert one == other


def test_a_public_corpus_may_come_as_a_manifest(places):
    listed = {"emodb": places["mine"], "mine": places["other"]}
    read = several.read(listed, strict=True, excluded=[])
    assert [u.id for u in read] == ["emodb/x1", "mine/x1"]


def test_what_is_missing_names_its_corpus(places, tmp_path):
    gone = places | {"emodb": str(tmp_path / "gone")}
    with pytest.raises(InputError, match=r"data\.corpora, emodb: .*no folder at"):
        several.read(gone, strict=True, excluded=[])
    with pytest.raises(InputError, match=r"data\.corpora, mine: .*gone\.csv"):
        several.read(places | {"mine": "/gone.csv"}, strict=True, excluded=[])


@pytest.mark.parametrize(
    ("name", "variable"), [("emodb", "EMODB_ROOT"), ("iemocap", "IEMOCAP_ROOT")]
)
def test_a_place_that_nothing_says_is_asked_for(places, monkeypatch, name, variable):
    monkeypatch.delenv(variable, raising=False)
    nowhere = rf"data\.corpora\['{name}'\] and {variable} are empty"
    with pytest.raises(InputError, match=nowhere):
        several.read(places | {name: ""}, strict=True, excluded=[])


@pytest.mark.parametrize(
    "given", [{"a": "x.csv", "emodb": ""}, (("a", "b"), ("c", "d"))]
)
def test_a_mapping_or_pairs(given):
    assert several.parse(given) == dict(given)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (None, "got None"),
        ("emodb", "two or more corpora"),
        ({"emodb": ""}, "two or more corpora"),
        ((("a", "x"), ("a", "y")), "two or more corpora"),
        ({"emodb": "", "my/own": "x.csv"}, "name 'my/own': use letters"),
        ({"emodb": "", "mine": ""}, "nothing for 'mine', which is no name"),
        ({"emodb": 3, "demo": ""}, "two or more corpora"),
    ],
)
def test_what_is_no_mapping_is_refused(given, message):
    with pytest.raises(InputError, match=message):
        several.parse(given)
