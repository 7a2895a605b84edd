"""Files are read once, and again as soon as they may have changed."""

import os

import pytest

from ser_jax.datasets import file_digests

OLD = 10**18  # ns; long before any test


def digests_of(files, folder):
    return file_digests.file_digests(files, folder, folder)


@pytest.fixture
def corpus(tmp_path, monkeypatch):
    """Three files, the folder of datasets, and the list of files that were read."""
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
    return files, tmp_path / "deep", read


def journal_in(folder):
    (path,) = (folder / "digests").glob("*.json")
    return path


def test_each_file_is_read_once(corpus):
    files, folder, read = corpus
    first = digests_of(files, folder)
    assert sorted(read) == files and len({*first}) == 3
    assert (
        digests_of(files, folder) == first
        and digests_of(files[1:], folder) == first[1:]
    )
    assert len(read) == 3


def test_a_file_replaced_by_one_as_long_and_as_old_is_read_again(corpus):
    files, folder, read = corpus
    os.utime(files[1], ns=(OLD, OLD))
    first = digests_of(files, folder)
    with open(files[1] + "x", "w") as file:
        file.write("other 1")
    os.utime(files[1] + "x", ns=(OLD, OLD))
    os.replace(files[1] + "x", files[1])
    second = digests_of(files, folder)
    assert read[3:] == [files[1]]
    assert [x == y for x, y in zip(first, second, strict=True)] == [True, False, True]


def test_a_touched_file_is_read_again_and_is_the_same(corpus):
    files, folder, read = corpus
    first = digests_of(files, folder)
    os.utime(files[0], ns=(OLD, OLD))
    assert digests_of(files, folder) == first and read[3:] == files[:1]


def test_what_was_written_a_moment_ago_is_not_trusted(corpus, monkeypatch):
    files, folder, read = corpus
    monkeypatch.setattr(file_digests, "_SETTLED_NS", 2 * 10**9)
    digests_of(files, folder)
    digests_of(files, folder)
    assert len(read) == 6


@pytest.mark.parametrize(
    "content", ["", "{", "[1, 2", "[]", "[1, 2]", "null", '{"PATH": 3}', "[" * 10_000]
)
def test_a_damaged_journal_is_written_again(corpus, content):
    files, folder, read = corpus
    first = digests_of(files, folder)
    journal_in(folder).write_text(content.replace("PATH", files[0]))
    assert digests_of(files, folder) == first and len(read) == 6
    assert digests_of(files, folder) == first and len(read) == 6


def test_a_file_rewritten_in_place_with_its_old_time_is_read_again(corpus):
    files, folder, read = corpus
    first = digests_of(files, folder)
    before = os.stat(files[1])
    with open(files[1], "r+") as file:
        file.write("other 1")
    os.utime(files[1], ns=(before.st_atime_ns, before.st_mtime_ns))
    now = os.stat(files[1])
    same = ("st_size", "st_mtime_ns", "st_ino")
    assert [getattr(now, x) for x in same] == [getattr(before, x) for x in same]
    assert digests_of(files, folder)[1] != first[1] and read[3:] == [files[1]]


def test_what_cannot_be_read_counts_as_such_and_is_tried_again(corpus):
    files, folder, read = corpus
    os.unlink(files[0])
    os.symlink(files[0], files[0])  # a link to itself
    first = digests_of(files, folder)
    assert first[0] == file_digests.UNREADABLE and len(read) == 3
    os.unlink(files[0])
    with open(files[0], "w") as file:
        file.write("sound 0")
    assert file_digests.UNREADABLE not in digests_of(files, folder)


def test_a_journal_that_cannot_be_written_only_costs_time(corpus):
    files, folder, read = corpus
    digests_of(files, folder)
    journal = journal_in(folder)
    journal.unlink()
    journal.mkdir()
    assert digests_of(files, folder) == digests_of(files, folder)
    assert len(read) == 9 and not list(journal.parent.glob("*.part"))
    (folder / "file").touch()
    for _ in range(2):  # nothing can lie below a file
        file_digests.file_digests(files, folder, folder / "file")
    assert len(read) == 15


def test_datasets_in_a_bucket_have_their_journal_in_the_users_cache(
    corpus, tmp_path, monkeypatch
):
    files, _, read = corpus
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    for _ in range(2):
        file_digests.file_digests(files, "corpus.csv", "gs://bucket/datasets")
    assert len(read) == 3 and journal_in(tmp_path / "cache" / "ser_jax")
