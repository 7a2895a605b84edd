"""The published class counts, read from a tree that is written per speaker."""

import collections

import pytest

from ser_jax.corpora import iemocap
from ser_jax.corpora.iemocap import COUNTS, check_counts
from ser_jax.errors import InputError
from tests.corpora import iemocap_tree

HAPPY = {"hap": {"hap"}, "exc": {"exc"}, "hap+exc": {"hap", "exc"}}


@pytest.fixture(scope="module")
def turns(tmp_path_factory):
    root = iemocap_tree.write_tree(tmp_path_factory.mktemp("corpora") / "release")
    return list(iemocap.read(root))  # strict: this tree passes for the full release


def select(turns, subset, happy):
    labels = {"neu", "sad", "ang"} | HAPPY[happy]
    return [u for u in turns if u.emotion in labels and subset in ("all", u.style)]


# Published totals; the last column of each table.
@pytest.mark.parametrize(
    ("subset", "happy", "total", "per_session"),
    [
        ("improvised", "hap", 2280, (422, 393, 538, 370, 557)),
        ("improvised", "hap+exc", 2943, (521, 530, 627, 534, 731)),
        ("improvised", "exc", 2659, (488, 476, 567, 503, 625)),
        ("scripted", "hap", 2210, (520, 420, 462, 423, 385)),
        ("scripted", "hap+exc", 2588, (564, 493, 524, 497, 510)),
        ("all", "hap", 4490, (942, 813, 1000, 793, 942)),
        ("all", "hap+exc", 5531, (1085, 1023, 1151, 1031, 1241)),
    ],
)
def test_totals_of_subset_and_policy(turns, subset, happy, total, per_session):
    chosen = select(turns, subset, happy)
    assert len(chosen) == total
    got = collections.Counter(u.session for u in chosen)
    assert tuple(got[f"session{n}"] for n in range(1, 6)) == per_session


@pytest.mark.parametrize("speaker", sorted(iemocap_tree.BOTH))
def test_counts_of_a_speaker(turns, speaker):
    mine = [u for u in turns if u.speaker == speaker]
    both = collections.Counter(u.emotion for u in mine)
    improvised = collections.Counter(u.emotion for u in mine if u.style == "improvised")
    names = iemocap_tree.EMOTIONS
    assert tuple(both[e] for e in names) == iemocap_tree.BOTH[speaker]
    assert tuple(improvised[e] for e in names) == iemocap_tree.IMPROVISED[speaker]


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
