import pytest

from ser_jax.features.sentences import plain


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("Excuse me.", "excuse me"),
        ("I don’t  KNOW -- it's well-known!", "i dont know its well known"),
        ("[LAUGHTER] Oh, no. [BREATHING]", "oh no"),
        ("At 5:30, Straße", "at 5 30 strasse"),
        (" ... ", ""),
        ("", ""),
    ],
)
def test_plain_words_by_hand(text, words):
    assert plain(text) == words
    assert plain(words) == words
