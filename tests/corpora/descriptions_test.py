"""Descriptions of public corpora agree with what is published of them."""

import pytest

from ser_jax.corpora.descriptions import load
from tests.corpora import corpus_names


@pytest.mark.parametrize("corpus", corpus_names.COUNTED)
def test_published_numbers_follow_from_the_rules(corpus):
    about = load()[corpus]
    names = corpus_names.all_names(corpus)
    counts = dict.fromkeys(about.expected, 0)
    speakers = set()
    for name in names:
        match = about.pattern.search(name)
        whole = name.rpartition("/")[2] not in about.broken
        counts[about.emotion[match["emotion"]]] += whole
        speakers.add(about.speaker.format(**match.groupdict()))
    assert counts == about.expected
    assert speakers >= {*about.female, *about.male}


@pytest.mark.parametrize("corpus", load())
def test_published_totals_and_speakers(corpus):
    about = load()[corpus]
    assert about.utterances == corpus_names.TOTALS[corpus]
    assert (len(about.female), len(about.male)) == corpus_names.SPEAKERS[corpus]
    assert not {*about.female} & {*about.male}


@pytest.mark.parametrize("corpus", load())
def test_no_other_corpus_matches_its_names(corpus):
    """EMO-DB apart, which EmoDB 2 holds."""
    allowed = {"emodb", "emodb2"} if corpus.startswith("emodb") else {corpus}
    for name in corpus_names.all_names(corpus):
        got = {x for x, about in load().items() if about.pattern.search(f"x/{name}")}
        assert got == allowed, name
