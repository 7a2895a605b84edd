"""Classes, folds, sampling and statistics of several corpora."""

import dataclasses

import numpy as np
import pytest

from ser_jax.corpora.utterance import Utterance
from ser_jax.data import batches, normalize, protocols
from ser_jax.data.classes import assign_classes, count_labels
from ser_jax.errors import InputError
from ser_jax.predict import forward
from tests.data.turns import config, source

RAW = {"a": ("angry", "calm"), "b": ("Anger", "Neutral"), "c": ("anger", "neutral")}
SPEAKERS = {"a": 7, "b": 2, "c": 5}


def turns(corpora=RAW, raw=RAW):
    """Three of each label of each speaker; speakers are F and M in turn."""
    return [
        Utterance(
            id=f"{corpus}/{speaker}_{label}_{take}",
            wav="",
            speaker=f"{corpus}/{speaker}",
            session=f"{corpus}_session1",
            emotion=label,
            gender="FM"[speaker % 2],
            extra={"corpus": corpus},
        )
        for corpus in corpora
        for speaker in range(SPEAKERS[corpus])
        for label in raw[corpus]
        for take in range(3)
    ]


def labelled(corpora=RAW):
    given = turns(corpora)
    maps = {"a": {"calm": "neutral"}}
    data = source("multi", taxonomy="basic4", label_maps=maps)
    return given, *assign_classes(given, data, config())[:2]


def folds(corpora=RAW, **changes):
    given, _, labels = labelled(corpora)
    made = protocols.make_folds(given, labels, config(**changes))
    return given, {fold.name: fold for fold in made}


def _of(given, part, field):
    if field == "corpus":
        return {given[i].extra["corpus"] for i in part}
    return {getattr(given[i], field) for i in part}


def test_labels_meet_in_the_taxonomy_and_maps_win():
    given, classes, labels = labelled()
    assert classes == ("anger", "neutral")
    assert {(u.emotion, classes[k]) for u, k in zip(given, labels, strict=True)} == {
        ("angry", "anger"),
        ("Anger", "anger"),
        ("anger", "anger"),
        ("calm", "neutral"),
        ("Neutral", "neutral"),
        ("neutral", "neutral"),
    }


def test_what_has_no_class_is_left_out_and_listed():
    given = turns()
    classes, labels, excluded = assign_classes(
        given, source("multi", taxonomy="basic4"), config()
    )
    assert {x.id for x in excluded} == {u.id for u in given if u.emotion == "calm"}
    rows = count_labels(given, classes, labels)
    counted = {(x["corpus"], x["label"]): (x["used_as"], x["count"]) for x in rows}
    assert counted == {
        ("a", "angry"): ("anger", 21),
        ("a", "calm"): ("", 21),
        ("b", "Anger"): ("anger", 6),
        ("b", "Neutral"): ("neutral", 6),
        ("c", "anger"): ("anger", 15),
        ("c", "neutral"): ("neutral", 15),
    }


def test_a_map_can_leave_a_label_out_that_the_taxonomy_has():
    data = source("multi", taxonomy="basic4", label_maps={"c": {"anger": ""}})
    _, _, excluded = assign_classes(turns(), data, config())
    assert sum(x.id.startswith("c/") for x in excluded) == 15


def test_a_label_that_the_corpus_lacks_is_refused():
    data = source("multi", taxonomy="basic4", label_maps={"b": {"calm": "neutral"}})
    with pytest.raises(InputError, match=r"label_maps, b: expected labels.*got calm"):
        assign_classes(turns(), data, config())


@pytest.mark.parametrize(("happy", "used"), [("hap", 9), ("hap+exc", 18)])
def test_what_happy_holds_is_iemocaps_protocol(happy, used):
    raw = {"a": ("happy", "neutral")}
    given = turns(("a",), raw)
    for number, emotion in enumerate(("hap", "exc", "neu") * 9):
        name = f"iemocap/1F_{number}"
        extra = {"corpus": "iemocap"}
        given.append(Utterance(name, "", "iemocap/1F", "x", emotion, extra=extra))
    data = source("multi", taxonomy="basic4")
    classes, labels, _ = assign_classes(given, data, config(happy=happy))
    of_iemocap = [k for u, k in zip(given, labels, strict=True) if u.id[0] == "i"]
    assert of_iemocap.count(classes.index("happiness")) == used


def test_one_corpus_may_have_a_taxonomy_too():
    given = [dataclasses.replace(u, extra={}) for u in turns(("a",))]
    data = source("manifest", taxonomy="basic4", label_map={"calm": "neutral"})
    assert assign_classes(given, data, config())[0] == ("anger", "neutral")


@pytest.mark.parametrize("validation", ["speaker", "group", "random"])
def test_nothing_of_the_corpus_left_out_trains_or_validates(validation):
    given, made = folds(split="corpus", validation=validation)
    assert list(made) == ["a", "b", "c"]
    for name, fold in made.items():
        assert _of(given, fold.test, "corpus") == {name} and fold.val
        others = {*RAW} - {name}
        assert _of(given, (*fold.train, *fold.val), "corpus") == others
        assert len(fold.train) + len(fold.val) + len(fold.test) == len(given)
        if validation == "speaker":
            speakers = _of(given, fold.val, "speaker")
            assert not speakers & _of(given, fold.train, "speaker")
            assert sorted(x[0] for x in speakers) == sorted(others)
        if validation == "group":
            assert len(_of(given, fold.val, "corpus")) == 1


@pytest.mark.parametrize("validation", ["speaker", "group", "random"])
@pytest.mark.parametrize("seed", [0, 3])
def test_pairs_train_on_one_corpus_and_test_all_others(validation, seed):
    given, made = folds(("a", "c"), split="pairs", validation=validation, seeds=(seed,))
    for name, fold in made.items():
        assert _of(given, (*fold.train, *fold.val), "corpus") == {name} and fold.val
        own = [i for i in fold.test if given[i].id[0] == name]
        others = [i for i in fold.test if given[i].id[0] != name]
        assert len(others) == sum(u.id[0] != name for u in given)
        speakers = _of(given, own, "speaker")
        heard = _of(given, (*fold.train, *fold.val), "speaker")
        assert speakers and not speakers & heard
        assert len(speakers | heard) == SPEAKERS[name]
        assert len(speakers) == (1 if name == "c" else len(speakers)) <= 2
        if validation != "random":
            val = _of(given, fold.val, "speaker")
            assert not val & _of(given, fold.train, "speaker")


def test_a_fold_of_pairs_does_not_depend_on_what_else_is_tested():
    parts = []
    for corpora in (("a", "c"), ("a", "b", "c")):
        given, made = folds(corpora, split="pairs", validation="random")
        fold = made["a"]
        parts.append([{given[i].id for i in p} for p in (fold.train, fold.val)])
    assert parts[0] == parts[1]


def test_with_two_speakers_none_is_kept_for_the_test():
    given, made = folds(split="pairs", validation="speaker")
    fold = made["b"]
    assert _of(given, fold.test, "corpus") == {"a", "c"}
    assert len(_of(given, fold.train, "speaker")) == 1
    assert len(_of(given, fold.val, "speaker")) == 1


def test_a_class_that_a_corpus_lacks_is_refused_by_name():
    given = [u for u in turns() if u.id[0] != "b" or u.emotion == "Anger"]
    data = source("multi", taxonomy="basic4", label_maps={"a": {"calm": "neutral"}})
    _, labels, _ = assign_classes(given, data, config())
    with pytest.raises(InputError, match="split='pairs', fold b.*every class"):
        protocols.make_folds(given, labels, config(split="pairs"))


@pytest.mark.parametrize("split", ["corpus", "pairs"])
def test_one_corpus_is_not_enough(split):
    given = turns(("c",))
    with pytest.raises(InputError, match="two or more corpora; got c"):
        protocols.make_folds(given, np.zeros(len(given), int), config(split=split))


def test_pooled_groups_have_speakers_of_every_corpus_and_gender():
    given, made = folds(("a", "c"), split="group", groups=2)
    for fold in made.values():
        kinds = [
            (given[i].id[0], given[i].gender)
            for i in {given[j].speaker: j for j in fold.test}.values()
        ]
        assert {("a", "F"), ("a", "M"), ("c", "F"), ("c", "M")} == set(kinds)


def test_groups_have_every_corpus_though_size_alone_would_part_them():
    sizes = {"a/1": 30, "c/1": 29, "c/2": 28, "a/2": 2}
    given = [
        Utterance(
            f"{who}_{n}",
            "",
            who,
            "x",
            "ab"[n % 2],
            gender="F",
            extra={"corpus": who[0]},
        )
        for who, size in sizes.items()
        for n in range(size)
    ]
    labels = np.array([ord(u.emotion) - ord("a") for u in given])
    protocol = config(split="group", groups=2, validation="random")
    for fold in protocols.make_folds(given, labels, protocol):
        assert _of(given, fold.test, "corpus") == {"a", "c"}


@pytest.mark.parametrize(
    ("changes", "scaled_by", "use"),
    [
        ({"split": "pairs"}, "fold", "none"),
        ({"split": "corpus"}, "none", "none"),
        ({"split": "corpus"}, "corpus", "unlabelled"),
        ({"split": "pairs"}, "speaker", "unlabelled"),
        ({"split": "pairs", "selection": "test"}, "fold", "labelled"),
        ({"split": "group"}, "speaker", "labelled"),
        # Another rule's name, but no corpus is in two parts.
        ({"split": "group", "group_by": "corpus"}, "fold", "none"),
    ],
)
def test_what_was_used_of_the_target_is_said(changes, scaled_by, use):
    given, made = folds(**changes)
    rules = config(**changes)
    assert protocols.target_use([*made.values()], given, rules, scaled_by) == use


@pytest.mark.parametrize(
    ("scaled_by", "use"), [("speaker", "unlabelled"), ("fold", "")]
)
def test_of_one_corpus_only_what_scales_it_is_said(scaled_by, use):
    given = [u for u in turns() if u.extra["corpus"] == "a"]
    fold = protocols.Fold("a/0", 0, (0, 1), (2,), (3,))
    assert protocols.target_use([fold], given, config(split="group"), scaled_by) == use


@pytest.mark.parametrize("sampling", ["corpus", "corpus_class"])
def test_one_corpus_is_no_choice_of_corpora(sampling):
    with pytest.raises(InputError, match=f"train.sampling={sampling}: .* got one"):
        batches.strata_of(sampling, np.array([0, 1]), ["", ""])


def test_strata_are_classes_corpora_or_both():
    labels, corpora = np.array([0, 1, 1, 0, 1]), ["x", "x", "y", "y", "y"]
    assert batches.strata_of("all", labels, corpora) is None
    for sampling, groups in (
        ("balanced", [{0, 3}, {1, 2, 4}]),
        ("corpus", [{0, 1}, {2, 3, 4}]),
        ("corpus_class", [{0}, {1}, {2, 4}, {3}]),
    ):
        strata = batches.strata_of(sampling, labels, corpora)
        members = [{*np.flatnonzero(strata == s).tolist()} for s in np.unique(strata)]
        assert sorted(map(sorted, members)) == sorted(map(sorted, groups))


def test_each_owner_is_scaled_to_zero_mean_and_unit_variance():
    rng = np.random.default_rng(0)
    frames = [
        rng.normal(3 * u, 1 + u, (11 + u, 5, 2)).astype(np.float32) for u in range(4)
    ]
    mean, std, owner = normalize.owner_statistics(frames, ["q", "p", "q", "p"])
    assert mean.shape == std.shape == (2, 5, 2) and owner.tolist() == [1, 0, 1, 0]
    for members in ((0, 2), (1, 3)):
        scaled = np.concatenate(
            [forward.zscore(frames[u], mean[owner[u]], std[owner[u]]) for u in members]
        )
        np.testing.assert_allclose(scaled.mean(axis=0), 0, atol=1e-5)
        np.testing.assert_allclose(scaled.std(axis=0), 1, atol=1e-3)
