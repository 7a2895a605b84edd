"""Folds and what they promise."""

import itertools

import numpy as np
import pytest

from ser_jax.corpora.utterance import Utterance
from ser_jax.data import protocols
from ser_jax.data.classes import assign_classes
from ser_jax.errors import InputError
from tests.data.turns import (
    COUNTS,
    config,
    iemocap_turns,
    small_turns,
    source,
    turn,
)


@pytest.fixture
def iemocap():
    return iemocap_turns()


@pytest.fixture
def small():
    return small_turns()


def folds_of(utterances, **changes):
    protocol = config(**changes)
    _, labels, _ = assign_classes(utterances, source(), protocol)
    return protocols.make_folds(utterances, labels, protocol)


def field(utterances, part, name):
    return {getattr(utterances[i], name) for i in part}


RULES = [
    {"split": split, "selection": selection, "validation": validation}
    for split, selection, validation in itertools.product(
        ("session5", "speaker10", "random_811", "random_80_20", "group"),
        ("val", "last", "test"),
        ("speaker", "group", "random"),
    )
]


@pytest.mark.parametrize("rule", RULES, ids=lambda r: "-".join(r.values()))
def test_every_rule_uses_each_utterance_once_whatever_the_order(small, rule):
    folds = folds_of(small, seeds=(3, 1), **rule)
    assert [f.seed for f in folds] == sorted((f.seed for f in folds), reverse=True)
    for fold in folds:
        parts = fold.train + fold.val + fold.test
        assert sorted(parts) == list(range(len(small)))
        assert fold.train and fold.test
        validates = rule["selection"] == "val" or rule["split"] == "speaker10"
        assert bool(fold.val) == validates
    mixed = [small[i] for i in np.random.default_rng(5).permutation(len(small))]
    again = folds_of(mixed, seeds=(3, 1), **rule)
    assert protocols.splits_json(again, mixed) == protocols.splits_json(folds, small)
    assert list(again[0].train) == sorted(again[0].train)


def test_session5_leaves_a_session_out_and_one_speaker_of_the_next_validates(iemocap):
    folds = folds_of(iemocap, seeds=(0, 1))
    assert [(f.name, f.seed) for f in folds] == [
        (f"session{n}", seed) for seed in (0, 1) for n in range(1, 6)
    ]
    # EmoBox's totals of the sessions, both styles, hap+exc.
    assert [len(f.test) for f in folds[:5]] == [1085, 1023, 1151, 1031, 1241]
    validates = [field(iemocap, f.val, "speaker") for f in folds]
    # Fold i of seed s takes speaker number (i + s) mod 2 of the next session.
    assert validates[:5] == [{"2F"}, {"3M"}, {"4F"}, {"5M"}, {"1F"}]
    assert validates[5:] == [{"2M"}, {"3F"}, {"4M"}, {"5F"}, {"1M"}]
    for fold in folds:
        assert field(iemocap, fold.test, "session") == {fold.name}
        assert fold.name not in field(iemocap, fold.train + fold.val, "session")
        assert len(field(iemocap, fold.train, "speaker")) == 7
    assert len(folds[0].val) == 481


def test_session5_other_validations(small):
    (fold, *_) = folds_of(small, validation="group")
    assert field(small, fold.val, "session") == {"session2"}
    (fold, *_) = folds_of(small, validation="random", val_fraction=0.2)
    rest = len(fold.train + fold.val)
    assert len(fold.val) == pytest.approx(0.2 * rest, abs=2)  # 4 roundings
    assert field(small, fold.val, "emotion") == {"neu", "hap", "sad", "ang"}


def test_speaker10_validates_on_the_other_speaker_under_every_selection(small):
    for selection in ("val", "last", "test"):
        folds = folds_of(small, split="speaker10", selection=selection)
        assert [f.name for f in folds] == sorted(COUNTS)
        for fold in folds:
            other = fold.name[0] + {"F": "M", "M": "F"}[fold.name[1]]
            assert field(small, fold.test, "speaker") == {fold.name}
            assert field(small, fold.val, "speaker") == {other}
            assert len(field(small, fold.train, "speaker")) == 8


def test_random_811_is_stratified_and_differs_by_seed(iemocap):
    first, second = folds_of(iemocap, split="random_811", seeds=(0, 7))
    assert (first.name, second.name) == ("split", "split")
    assert first.test != second.test
    classes = {"neu": 1708, "sad": 1084, "ang": 1103}
    for part in (first.val, first.test):
        got = [iemocap[i].emotion for i in part]
        for emotion, total in classes.items():
            assert got.count(emotion) == pytest.approx(total / 10, abs=1)  # rounding
    assert len(first.train) == pytest.approx(0.8 * 5531, abs=6)
    (last,) = folds_of(iemocap, split="random_811", selection="last")
    assert last.test == first.test
    assert set(last.train) == set(first.train) | set(first.val)


def test_random_811_keeps_the_only_utterance_of_a_class_for_training(small):
    turns = [u for u in small if u.emotion != "ang"] + [turn("only", "1F", "ang")]
    (fold,) = folds_of(turns, split="random_811")
    assert len(turns) - 1 in fold.train


def test_random_80_20_cuts_validation_out_of_the_eighty(iemocap):
    seeds = (111111, 123456, 0, 999999, 987654)
    folds = folds_of(iemocap, split="random_80_20", seeds=seeds)
    assert [f.seed for f in folds] == list(seeds)
    for fold in folds:
        # 5531: 1106.2 and 553.1, the rest trains.
        assert tuple(map(len, (fold.train, fold.val, fold.test))) == (3872, 553, 1106)
    paper = folds_of(iemocap, split="random_80_20", seeds=seeds, selection="test")
    assert [f.test for f in paper] == [f.test for f in folds]
    assert [len(f.train) for f in paper] == [4425] * 5


def test_groups_hold_whole_speakers_balanced_by_gender_and_size(small):
    folds = folds_of(small, split="group", groups=5)
    assert [f.name for f in folds] == [f"group{n}" for n in range(1, 6)]
    for fold in folds:
        assert sorted(field(small, fold.test, "gender")) == ["F", "M"]
        assert len(field(small, fold.test, "speaker")) == 2
        # Speakers have 16, 20 ... 52 turns, 340 in all: the largest woman goes with
        # the smallest man, 48 + 20 and so on.
        assert len(fold.test) == 68
        assert len(field(small, fold.val, "speaker")) == 1


def test_groups_are_balanced_by_gender_before_size():
    sizes = {"aF": 10, "bF": 3, "cF": 3, "dF": 3, "eM": 4, "fM": 4}
    turns = [
        turn(f"{s}{e}{n}", s, e, session="x")
        for s, size in sizes.items()
        for e in ("neu", "hap", "sad", "ang")
        for n in range(size)
    ]
    folds = folds_of(turns, split="group", groups=2, selection="last")
    # By size alone both men would fall to the second group: a, c | e, f, b, d.
    parts = [field(turns, fold.test, "speaker") for fold in folds]
    assert parts == [{"aF", "dF", "fM"}, {"bF", "cF", "eM"}]


def test_groups_without_gender_are_balanced_by_size_alone():
    sizes = {"a": 8, "b": 5, "c": 4, "d": 3}
    turns = [
        turn(f"{s}{e}{n}", s, e, session="x", gender="")
        for s, size in sizes.items()
        for e in ("neu", "hap", "sad", "ang")
        for n in range(size)
    ]
    folds = folds_of(turns, split="group", groups=2, selection="last")
    # Largest first to the emptier: a | b, c | a gets d: 11 against 9 (times 4).
    assert [field(turns, f.test, "speaker") for f in folds] == [{"a", "d"}, {"b", "c"}]


@pytest.mark.parametrize("column", ["gender", "dialog", "take", "text"])
def test_any_column_can_be_left_out(small, column):
    turns = [
        turn(
            *(u.id, u.speaker, u.emotion),
            dialog=f"d{int(u.id[-2:]) % 3}",
            text=f"sentence {int(u.id[-2:]) % 2}",
            extra={"take": f"t{int(u.id[-2:]) % 4}"},
        )
        for u in small
    ]
    folds = folds_of(turns, split="group", group_by=column, validation="random")

    def value(i):
        return turns[i].extra["take"] if column == "take" else getattr(turns[i], column)

    assert len(folds) == {"gender": 2, "dialog": 3, "take": 4, "text": 2}[column]
    for fold in folds:
        assert {value(i) for i in fold.test} == {fold.name}
        assert fold.name not in {value(i) for i in fold.train + fold.val}


def test_one_speaker_per_group_validates_on_the_next_speaker(small):
    folds = folds_of(small, split="group")
    names = sorted(COUNTS)
    assert [f.name for f in folds] == names
    for fold, following in zip(folds, names[1:] + names[:1], strict=True):
        assert field(small, fold.val, "speaker") == {following}


def test_unused_utterances_are_in_no_part(small):
    turns = [*small, turn("9F_xxx_00", "9F", "xxx")]
    for fold in folds_of(turns, split="group"):
        assert len(small) not in fold.train + fold.val + fold.test


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"split": "group", "groups": 11}, "2 to 10.*got 11"),
        ({"split": "group", "groups": 1}, "2 to 10.*got 1"),
        ({"split": "group", "group_by": "language"}, "language.*speaker"),
        ({"split": "group", "group_by": "colour"}, "colour.*Columns that can"),
        ({"split": "group", "group_by": "style"}, "two or more values.*improvised"),
        ({"split": "session5_script"}, "dialog names.*got ''.*group_by='text'"),
        ({"seeds": ()}, "seeds"),
        ({"seeds": (1, 1)}, "seeds"),
        ({"seeds": (0.5,)}, r"protocol.seeds: .*whole numbers.* got \(0.5,\)"),
        ({"seeds": ("abc",)}, r"protocol.seeds: .*got \('abc',\)"),
        ({"seeds": (True, 2)}, "protocol.seeds"),
        ({"seeds": (0, -1)}, "protocol.seeds"),
        ({"seeds": (-1,)}, "seeds"),
        ({"validation": "random", "val_fraction": 0.0}, "val_fraction"),
        ({"split": "random_80_20", "val_fraction": 0.8}, "val_fraction"),
    ],
)
def test_a_rule_that_does_not_fit_is_refused(small, changes, words):
    with pytest.raises(InputError, match=words):
        folds_of(small, **changes)


def test_a_training_part_without_a_class_names_fold_and_class(small):
    turns = [u for u in small if u.emotion != "ang" or u.session == "session4"]
    with pytest.raises(InputError, match=r"fold session4.*got none.*ang"):
        folds_of(turns)


def test_validation_may_lack_a_class(small):
    turns = [u for u in small if u.emotion != "ang" or u.session != "session2"]
    (fold, *_) = folds_of(turns)
    assert field(turns, fold.val, "emotion") == {"neu", "hap", "sad"}


def test_too_few_utterances_for_a_test_part():
    turns = [turn(str(i), "1F", e) for i, e in enumerate(("neu", "calm"))]
    protocol = config(split="random_80_20", selection="last")
    with pytest.raises(InputError, match="test part"):
        protocols.make_folds(turns, np.array([0, 1]), protocol)


def test_a_speaker_in_two_sessions_breaks_the_promise(small):
    turns = [
        turn(u.id, "1F", u.emotion, session=u.session) if u.speaker == "2F" else u
        for u in small
    ]
    with pytest.raises(InputError, match=r"no speaker of the test.*got 1F"):
        folds_of(turns, validation="random")
    with pytest.raises(InputError, match="no session of the test"):
        folds_of(turns, split="speaker10")


def acted(session, speaker, play, emotion, number):
    dialog = f"Ses0{session}{'FM'[number % 2]}_{play}"
    name = f"{dialog}_{speaker}{number:03d}"
    return turn(name, f"{session}{speaker}", emotion, dialog=dialog)


@pytest.fixture
def plays():
    """Three sessions; session 2 acts no third script."""
    names = ("impro05a", "script01_1", "script01_3b", "script02_2", "script03_1")
    return [
        acted(session, speaker, name, emotion, number)
        for session, speaker, name in itertools.product((1, 2, 3), "FM", names)
        for emotion in ("neu", "hap", "sad", "ang")
        for number in range(2)
        if (session, name) != (2, "script03_1")
    ]


@pytest.mark.parametrize("validation", ["speaker", "group", "random"])
def test_session5_script_tests_everything_once_and_shares_no_script(plays, validation):
    folds = folds_of(
        plays, split="session5_script", validation=validation, seeds=(0, 1)
    )
    groups = ["improvised", "script01", "script02", "script03"]
    names = [f"session{s}_{g}" for s in (1, 2, 3) for g in groups]
    names.remove("session2_script03")
    assert [f.name for f in folds] == names * 2
    tested = sorted(i for fold in folds[: len(names)] for i in fold.test)
    assert tested == list(range(len(plays)))
    for fold in folds:
        session, group = fold.name.split("_")
        used = fold.train + fold.val
        assert not set(used) & set(fold.test) and fold.val
        assert field(plays, fold.test, "session") == {session}
        # All that the other sessions have, but for the tested script.
        expected = [
            i
            for i, u in enumerate(plays)
            if u.session != session and f"_{group}_" not in u.dialog
        ]
        assert sorted(used) == expected


def test_session5_script_validates_as_session5_does(plays):
    plain = folds_of(plays, split="session5", seeds=(0, 1))
    who = {(f.name, f.seed): field(plays, f.val, "speaker") for f in plain}
    assert who["session1", 0] == {"2F"} and who["session3", 1] == {"1M"}
    for fold in folds_of(plays, split="session5_script", seeds=(0, 1)):
        session = fold.name.split("_")[0]
        assert field(plays, fold.val, "speaker") == who[session, fold.seed]
    for fold in folds_of(plays, split="session5_script", selection="last"):
        assert fold.val == ()


def test_speaker10_needs_pairs(small):
    turns = [u for u in small if u.speaker != "3M"]
    with pytest.raises(InputError, match="got 3F in session3"):
        folds_of(turns, split="speaker10")


def test_splits_json_holds_ids(small):
    (fold, *_) = folds_of(small)
    (entry, *_) = protocols.splits_json([fold], small)["folds"]
    assert set(entry) == {"name", "seed", "train", "val", "test"}
    assert (entry["name"], entry["seed"]) == ("session1", 0)
    assert entry["test"] == sorted(u.id for u in small if u.session == "session1")


def test_promises_say_what_is_shared():
    def text(**changes):
        return "; ".join(protocols.promises(config(**changes), compared=True, near=()))

    assert "no speaker and no session" in text()
    assert "one whole speaker" in text()
    assert "SHARED" in text(split="random_80_20")
    assert "other speaker of the test session" in text(split="speaker10")
    scripts = text(split="session5_script")
    assert "no session and no script" in scripts and "without the tested" in scripts
    assert "no dialog" in text(split="group", group_by="dialog")
    assert "speakers shared with training" in text(validation="random")
    assert "all of the next fold" in text(validation="group")
    assert "PAPER MODE" in text(selection="test")
    said = protocols.promises(config(), compared=True, near=[("a", "b")] * 4)
    assert any(
        "BUT 4 takes probably ARE: a and b; a and b; a and b; ..." in x for x in said
    )
    assert not any("NOT compared" in x for x in said) and "BUT" not in text()
    (leak,) = protocols.leaks(compared=True, near=[("a", "b")] * 4)
    assert leak == "4 takes probably are in two parts"
    assert protocols.leaks(compared=True, near=()) == ()
    assert protocols.leaks(compared=False, near=()) == ("recordings were not compared",)
    said = protocols.promises(config(), compared=False, near=())
    assert any("NOT compared" in x for x in said)
    assert "PAPER MODE" not in text(selection="last")
    recorded = "scored at every validation, but chooses nothing"
    assert recorded in text(compare_selections=True) and recorded not in text()
    assert recorded not in text(compare_selections=True, selection="test")


def test_official_parts_are_the_corpus_own():
    parts = ["train"] * 12 + ["dev"] * 6 + ["test"] * 6
    turns = [
        Utterance(f"u{i:02d}", "", f"s{i % 4}", "session1", "xy"[i % 2], split=part)
        for i, part in enumerate(parts)
    ]
    labels = np.array([i % 2 for i in range(24)])
    (fold,) = protocols.make_folds(turns, labels, config(split="official"))
    assert fold.train == tuple(range(12)) and fold.val == tuple(range(12, 18))
    assert fold.test == tuple(range(18, 24)) and fold.name == "official"
    last = config(split="official", selection="last")
    (fold,) = protocols.make_folds(turns, labels, last)
    assert fold.train == tuple(range(18)) and not fold.val
    assert "may be SHARED" in "; ".join(
        protocols.promises(last, compared=True, near=())
    )


@pytest.mark.parametrize("validation", ["random", "speaker"])
def test_official_parts_without_one_for_validation(validation):
    turns = [
        Utterance(
            f"u{i:02d}", "", f"s{i % 4}", "session1", "xy"[i // 4 % 2], split=part
        )
        for i, part in enumerate(["training"] * 32 + ["Test"] * 8)
    ]
    labels = np.array([i // 4 % 2 for i in range(40)])
    protocol = config(split="official", validation=validation, val_fraction=0.25)
    (fold,) = protocols.make_folds(turns, labels, protocol)
    assert fold.test == tuple(range(32, 40)) and fold.val
    assert {*fold.train} | {*fold.val} == {*range(32)}
    if validation == "speaker":
        assert len({turns[i].speaker for i in fold.val}) == 1


def test_further_official_tests_are_left_out():
    parts = ["train", "val", "test", "test2", "test3"] * 2
    turns = [
        Utterance(f"u{i}", "", "", "session1", "xy"[i // 5], split=part)
        for i, part in enumerate(parts)
    ]
    labels = np.array([i // 5 for i in range(10)])
    for selection, train in (("val", (0, 5)), ("last", (0, 1, 5, 6))):
        protocol = config(split="official", selection=selection)
        (fold,) = protocols.make_folds(turns, labels, protocol)
        assert (fold.train, fold.test) == (train, (2, 7))


def test_a_group_needs_a_part_of_its_own():
    turns = [
        Utterance(f"u{i}", "", "s", "session1", "x", split=part)
        for i, part in enumerate(["train", "test"])
    ]
    protocol = config(split="official", validation="group")
    with pytest.raises(
        InputError, match="protocol.validation: expected speaker or ran"
    ):
        protocols.make_folds(turns, np.zeros(2, int), protocol)


def test_parts_of_other_names_are_refused():
    turns = [
        Utterance(f"u{i}", "", "s", "session1", "x", split="eval") for i in range(4)
    ]
    with pytest.raises(
        InputError, match="'split': expected train, training.* got 'eval'"
    ):
        protocols.make_folds(turns, np.zeros(4, int), config(split="official"))
