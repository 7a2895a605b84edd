"""Sentences and scripts on both sides of a split."""

import numpy as np
import pytest

from ser_jax.corpora import demo_script
from ser_jax.data import protocols
from ser_jax.data.labelled_corpus import script
from ser_jax.data.protocols import Fold
from ser_jax.data.text_repeats import scripts_shared, sentence_shares
from tests.data.turns import config, turn

TRANSCRIPTS = (
    "Excuse me.",
    "So what?",
    "[LAUGHTER]",
    "excuse  me",
    "Oh, no!",
    "[LAUGHTER]",
)


def demo_turns(style):
    """The demo corpus as it is planned, without any speech."""
    turns = []
    for session in range(1, 6):
        for planned in demo_script.plan(session, turns=12, seed=0):
            own = "scripted" if "script" in planned.dialog else "improvised"
            speaker = f"{session}{planned.id.split('_')[-1][0]}"
            more = {"dialog": planned.dialog, "text": planned.text}
            turns.append(turn(planned.id, speaker, planned.emotion, own, **more))
    return [u for u in turns if style in ("all", u.style)]


def folds_of(turns, **changes):
    one_class = np.zeros(len(turns), int)  # emotions play no part here
    return protocols.make_folds(turns, one_class, config(selection="last", **changes))


def test_sentences_are_compared_without_case_marks_and_noises():
    folds = [
        Fold("a", 0, train=(0, 1, 2), val=(), test=(3, 4, 5)),
        Fold("b", 0, train=(4,), val=(0,), test=(3,)),  # validation does not train
        Fold("c", 0, train=(0,), val=(), test=()),
    ]
    assert sentence_shares(folds, TRANSCRIPTS) == pytest.approx((1 / 3, 0.0, 0.0))


def test_a_sentence_repeats_if_its_transcript_or_its_recognition_does():
    recognized = ("Execute me", "Oh no", "", "excuse me", "oh, no", "hm")
    folds = [Fold("a", 0, train=(0, 1, 2), val=(), test=(3, 4, 5))]
    # By transcript the fourth, by recognition the fifth.
    assert sentence_shares(folds, TRANSCRIPTS) == pytest.approx((1 / 3,))
    assert sentence_shares(folds, recognized) == pytest.approx((1 / 3,))
    assert sentence_shares(folds, TRANSCRIPTS, recognized) == pytest.approx((2 / 3,))


@pytest.mark.parametrize(
    ("dialog", "name"),
    [
        ("Ses01F_script01_1", "script01"),
        ("Ses05M_script01_1b", "script01"),
        ("Ses02M_script03_2", "script03"),
        ("Ses03M_impro05a", "improvised"),
        ("Ses01F_script01", ""),  # no scene: not IEMOCAP's
        ("dialog7", ""),
        ("", ""),
    ],
)
def test_script_of_a_dialog(dialog, name):
    assert script(dialog) == name


def test_scripted_dialogs_leak_under_session5_and_not_under_session5_script():
    turns = demo_turns("scripted")
    texts = [u.text for u in turns]
    leaving_sessions = folds_of(turns, split="session5")
    assert sentence_shares(leaving_sessions, texts) == (1.0,) * 5
    assert scripts_shared(leaving_sessions, turns)
    leaving_scripts = folds_of(turns, split="session5_script")
    assert sentence_shares(leaving_scripts, texts) == (0.0,) * 10
    assert not scripts_shared(leaving_scripts, turns)


def test_scripted_sentences_of_the_whole_demo_are_kept_apart():
    turns = demo_turns("all")
    folds = folds_of(turns, split="session5_script")
    shares = sentence_shares(folds, [u.text for u in turns])
    by_name = dict(zip((f.name for f in folds), shares, strict=True))
    scripted = [share for name, share in by_name.items() if "_script" in name]
    assert scripted == [0.0] * 10
    assert by_name["session2_improvised"] > 0.5  # thirty sentences, drawn again


def test_improvised_dialogs_share_no_script():
    turns = demo_turns("improvised")
    assert not scripts_shared(folds_of(turns, split="session5"), turns)
    nameless = [turn(str(i), f"{i % 3}F", "neu") for i in range(12)]
    assert not scripts_shared(folds_of(nameless, split="session5"), nameless)
