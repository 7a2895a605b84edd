"""Files are read once, and again as soon as they may have changed."""

import os

import pytest

from ser_jax.datasets import file_digests
from ser_jax.datasets.file_digests import file_digests as digests_of

OLD = 10**18  # ns; long before any test


@pytest.fixture
def corpus(tmp_path, monkeypatch):
    """Three files, the journal, and the list of files that were read."""
    read = []
    original = file_digests._digest
    monkeypatch.setattr(
        file_digests, "_digest", lambda path: read.append(path) or original(path)
    )
    # What was written a moment ago counts as settled, but for one test.
    monkeypatch.setattr(file_digests, "_SETTLED_NS", -(10**12))
    files = [str(tmp_path / name) for name in "abc"]
    for number, name in enumerate(files):
        with open(name, "w") as file:
            file.write(f"sound {number}")
    return files, tmp_path / "deep" / "journal.json", read


def test_each_file_is_read_once(corpus):
    files, journal, read = corpus
    first = digests_of(files, journal)
    assert sorted(read) == files and len({*first}) == 3
    assert (
        digests_of(files, journal) == first
        and digests_of(files[1:], journal) == first[1:]
    )
    assert len(read) == 3


def test_a_file_replaced_by_one_as_long_and_as_old_is_read_again(corpus):
    files, journal, read = corpus
    os.utime(files[1], ns=(OLD, OLD))
    first = digests_of(files, journal)
    with open(files[1] + "x", "w") as file:
        file.write("other 1")
    os.utime(files[1] + "x", ns=(OLD, OLD))
    os.replace(files[1] + "x", files[1])
    second = digests_of(files, journal)
    assert read[3:] == [files[1]]
    assert [x == y for x, y in zip(first, second, strict=True)] == [True, False, True]


def test_a_touched_file_is_read_again_and_is_the_same(corpus):
    files, journal, read = corpus
    first = digests_of(files, journal)
    os.utime(files[0], ns=(OLD, OLD))
    assert digests_of(files, journal) == first and read[3:] == files[:1]


def test_what_was_written_a_moment_ago_is_not_trusted(corpus, monkeypatch):
    files, journal, read = corpus
    monkeypatch.setattr(file_digests, "_SETTLED_NS", 2 * 10**9)
    digests_of(files, journal)
    digests_of(files, journal)
    assert len(read) == 6


@pytest.mark.parametrize("content", ["", "{", "[1, 2"])
def test_a_damaged_journal_is_written_again(corpus, content):
    files, journal, read = corpus
    first = digests_of(files, journal)
    journal.write_text(content)
    assert digests_of(files, journal) == first and len(read) == 6
    assert digests_of(files, journal) == first and len(read) == 6


def test_a_journal_that_cannot_be_written_only_costs_time(corpus):
    files, journal, read = corpus
    journal.mkdir(parents=True)
    assert digests_of(files, journal) == digests_of(files, journal)
    assert len(read) == 6 and not list(journal.parent.glob("*.part"))
