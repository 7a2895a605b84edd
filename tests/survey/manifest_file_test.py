"""A corpus written as a manifest is read back as it was."""

import dataclasses
import math

import pytest

from ser_jax.corpora import iemocap, manifest, named
from ser_jax.errors import InputError
from ser_jax.survey import manifest_file
from tests.corpora import iemocap_tree
from tests.survey import tree

SAME = ("id", "emotion", "speaker", "session", "text", "language", "gender", "split")


def _said(utterances):
    return [[getattr(u, name) for name in SAME] for u in utterances]


@pytest.fixture(name="root")
def _root(tmp_path):
    return tree.write(tmp_path / "emodb")


def test_beside_its_recordings_paths_are_relative(root):
    utterances = [*named.read("emodb", str(root))]
    assert manifest_file.write(utterances, root / "m.csv") == []
    first = (root / "m.csv").read_text().splitlines()[1]
    # Of the two copies the first by folder counts.
    assert first.startswith("copy/03a01Wa.wav,anger,03,03a01Wa,session1,Der Lappen")
    read = [*manifest.read(root / "m.csv")]
    assert _said(read) == _said(utterances) and len(read) == 8
    assert [u.wav for u in read] == [u.wav for u in utterances]
    assert [u.extra for u in read] == [dict(u.extra) for u in utterances]


def test_elsewhere_a_link_leads_to_the_recordings(root, tmp_path):
    utterances = [*named.read("emodb", str(root))]
    file = tmp_path / "new" / "m.csv"
    (note,) = manifest_file.write(utterances, file)
    assert str(tmp_path / "new" / "m_recordings") in note and str(root) in note
    assert manifest_file.write(utterances, file) == [note]  # again
    read = [*manifest.read(file)]
    assert _said(read) == _said(utterances)
    for one, other in zip(read, utterances, strict=True):
        with open(one.wav, "rb") as a, open(other.wav, "rb") as b:
            assert a.read() == b.read()


def test_what_has_the_name_of_the_link_stays(root, tmp_path):
    folder = tmp_path / "new"
    (folder / "m_recordings").mkdir(parents=True)
    utterances = [*named.read("emodb", str(root))]
    with pytest.raises(InputError, match="m_recordings or a link to .* Remove it"):
        manifest_file.write(utterances, folder / "m.csv")
    assert not (folder / "m.csv").exists()


def test_iemocap_keeps_its_ratings(tmp_path):
    root = iemocap_tree.write_tree(tmp_path / "i")
    utterances = [*iemocap.read(root)]
    manifest_file.write(utterances, root / "m.csv")
    read = [*manifest.read(root / "m.csv")]
    assert _said(read) == _said(utterances)
    for one, other in zip(read, utterances, strict=True):
        assert float(one.extra["valence"]) == other.valence
        assert one.extra["style"] == other.style


def test_texts_may_hold_anything_that_a_cell_can(root):
    (u, *_) = named.read("emodb", str(root))
    odd = dataclasses.replace(
        u, text='a "b", c;\nd', valence=math.nan, extra={"note": "x,y"}
    )
    assert manifest_file.write([odd], root / "m.csv") == []
    (read,) = manifest.read(root / "m.csv")
    assert read.text == odd.text and read.extra == {"note": "x,y"}


def test_rows_that_cannot_be_read_back_are_said(root):
    first, second, *_ = named.read("emodb", str(root))
    nobody = dataclasses.replace(first, speaker="")
    (note,) = manifest_file.write([nobody, second], root / "m.csv")
    assert note.startswith("1 of its rows cannot be read back, first empty speaker")
