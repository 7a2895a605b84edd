"""Descriptions of public corpora agree with what is published of them."""

import pytest

from ser_jax.corpora.descriptions import load
from tests.corpora import corpus_names


@pytest.mark.parametrize("corpus", corpus_names.RULES)
def test_published_numbers_follow_from_the_rules(corpus):
    about = load()[corpus]
    counts = dict.fromkeys(about.expected, 0)
    speakers = set()
    for name in corpus_names.RULES[corpus]():
        found = {x for x, other in load().items() if other.pattern.search(f"x/{name}")}
        assert found == {corpus}, name
        match = about.pattern.search(name)
        whole = name.rpartition("/")[2] not in about.broken
        code = match["emotion"]
        counts[about.emotion.get(code) or about.emotion[code.lower()]] += whole
        speakers.add(about.speaker.format(**match.groupdict()))
    assert counts == about.expected
    assert len(speakers) == about.speakers and speakers >= {*about.female, *about.male}


@pytest.mark.parametrize("corpus", load())
def test_the_example_is_of_this_corpus(corpus):
    """EMO-DB apart, which EmoDB 2 holds."""
    example = load()[corpus].example
    found = {x for x, about in load().items() if about.pattern.search(f"x/{example}")}
    assert found == ({"emodb", "emodb2"} if corpus.startswith("emodb") else {corpus})
