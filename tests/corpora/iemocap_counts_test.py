"""The published class counts, read from a tree that is written per speaker."""

import collections

import pytest

from ser_jax.corpora import iemocap
from ser_jax.corpora.iemocap import COUNTS, check_counts
from ser_jax.errors import InputError
from tests.corpora import iemocap_tree


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


def test_session_tables_agree_with_the_speaker_tables():
    for speaker_f, speaker_m in zip(
        sorted(iemocap_tree.BOTH)[::2], sorted(iemocap_tree.BOTH)[1::2], strict=True
    ):
        session = f"session{speaker_f[0]}"
        rows = [iemocap_tree.IMPROVISED[s] for s in (speaker_f, speaker_m)]
        assert COUNTS["improvised"][session] == tuple(map(sum, zip(*rows, strict=True)))


def without_one(turns, session, emotion):
    place = next(
        i
        for i, u in enumerate(turns)
        if (u.session, u.emotion, u.style) == (session, emotion, "scripted")
    )
    return turns[:place] + turns[place + 1 :]


def test_difference_names_session_and_class(turns):
    fewer = without_one(turns, "session4", "exc")
    with pytest.raises(InputError) as caught:
        check_counts(fewer, strict=True)
    message = str(caught.value)
    assert "session4 scripted exc: expected 74, got 73" in message
    assert message.count("expected") == 1
    assert "--config.data.strict=False" in message


def test_difference_warns_when_not_strict(turns):
    fewer = without_one(turns, "session2", "ang")
    with pytest.warns(
        UserWarning, match="session2 scripted ang: expected 115, got 114"
    ):
        check_counts(fewer, strict=False)


def test_tree_with_one_turn_too_many_is_refused(tmp_path):
    counts = iemocap_tree.published_counts()
    counts["3F", "improvised"] = {**counts["3F", "improvised"], "hap": 40}
    root = iemocap_tree.write_tree(tmp_path / "release", counts)
    with pytest.raises(
        InputError, match="session3 improvised hap: expected 60, got 61"
    ):
        iemocap.read(root)
