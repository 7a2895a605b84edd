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


def test_difference_names_session_and_class(turns):
    place = next(
        i
        for i, u in enumerate(turns)
        if (u.session, u.emotion, u.style) == ("session4", "exc", "scripted")
    )
    fewer = turns[:place] + turns[place + 1 :]
    with pytest.raises(InputError) as caught:
        check_counts(fewer, strict=True)
    message = str(caught.value)
    assert "session4 scripted exc: expected 74, got 73" in message
    assert message.count("expected") == 1
    assert "--config.data.strict=False" in message
    with pytest.warns(UserWarning, match="scripted exc: expected 74, got 73"):
        check_counts(fewer, strict=False)
    with pytest.raises(InputError, match="scripted exc: expected 74, got 75"):
        check_counts([*turns, turns[place]], strict=True)
