"""The SVM: what chooses C, and that a test part chooses nothing."""

import numpy as np
import pytest
from sklearn.metrics import balanced_accuracy_score
from sklearn.model_selection import StratifiedGroupKFold, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

from ser_jax.baseline import svm


def _data(num=120, classes=3, width=30, speakers=6, seed=0):
    rng = np.random.default_rng(seed)
    labels = rng.integers(classes, size=num)
    values = rng.normal(size=(num, width))
    values[np.arange(num), labels] += 2.5
    return values, labels, np.array([f"s{n % speakers}" for n in range(num)])


def test_a_test_utterance_changes_no_other_answer():
    values, labels, speakers = _data()
    train, test = np.arange(90), np.arange(90, 120)
    fit = values[train], labels[train], speakers[train]
    answer = svm.classify(*fit, values[test], 3)
    poisoned = values[test].copy()
    poisoned[0] = 1e6
    other = svm.classify(*fit, poisoned, 3)
    assert other.cost == answer.cost and answer.unknown == "speakers"
    np.testing.assert_array_equal(other.posteriors[1:], answer.posteriors[1:])
    assert not np.allclose(other.posteriors[0], answer.posteriors[0])
    turned = svm.classify(*fit, values[test][::-1], 3)
    np.testing.assert_allclose(turned.posteriors[::-1], answer.posteriors, atol=1e-12)
    np.testing.assert_allclose(answer.posteriors.sum(axis=1), 1)
    assert (answer.posteriors.argmax(axis=1) == labels[test]).mean() > 0.6


def test_c_is_what_scikit_learn_chooses_by_speaker():
    values, labels, speakers = _data(width=60)
    folds = StratifiedGroupKFold(svm.PARTS, shuffle=True, random_state=0)
    scores = []
    for cost in svm.COSTS:
        model = SVC(C=cost, kernel="linear", class_weight="balanced", break_ties=True)
        decided = cross_val_predict(
            make_pipeline(StandardScaler(), model),
            values,
            labels,
            groups=speakers,
            cv=folds,
        )
        scores.append(balanced_accuracy_score(labels, decided))
    assert len({*scores}) > 3
    answer = svm.classify(values, labels, speakers, values[:1], 3)
    assert answer.cost == svm.COSTS[int(np.argmax(scores))]


def test_speakers_stay_whole_where_c_is_chosen(monkeypatch):
    values, labels, speakers = _data()
    seen, scores = [], svm._scores

    def spy(train, own, test, *options):
        seen.append((train, test))
        return scores(train, own, test, *options)

    monkeypatch.setattr(svm, "_scores", spy)
    svm.classify(values, labels, speakers, values, 3)
    who = {tuple(row): name for row, name in zip(values, speakers, strict=True)}
    assert len(seen) == svm.PARTS + 1
    for train, held in seen[:-1]:
        heard = {who[tuple(row)] for row in train}
        assert heard.isdisjoint(who[tuple(row)] for row in held)


@pytest.mark.parametrize("names", [[""] * 120, ["one"] * 120])
def test_unknown_speakers_are_told_apart_by_utterance(names):
    values, labels, _ = _data()
    answer = svm.classify(values, labels, names, values[:2], 3)
    assert answer.unknown == "utterances"


def test_what_is_unknown_is_the_mean():
    values, labels, speakers = _data()
    test = values[:2].copy()
    test[0, 5] = np.nan
    test[1, 5] = values[:, 5].mean()
    test[:, :5], test[:, 6:] = values[0, :5], values[0, 6:]
    answer = svm.classify(values, labels, speakers, test, 3)
    np.testing.assert_allclose(*answer.posteriors, atol=1e-9)


def test_classes_weigh_the_same():
    rng = np.random.default_rng(1)
    labels = np.repeat([0, 1], [180, 20])
    values = rng.normal(size=(200, 2)) + labels[:, None]
    speakers = [f"s{n % 5}" for n in range(200)]
    decided = svm.classify(values, labels, speakers, values, 2).posteriors.argmax(1)
    assert 0.6 < (decided[labels == 1] == 1).mean()


def test_two_speakers_of_one_class_each_and_rare_classes():
    values, _, _ = _data(num=12, width=4)
    labels = np.array([0] * 6 + [1] * 5 + [2])
    answer = svm.classify(values, labels, ["a"] * 6 + ["b"] * 6, values, 3)
    assert np.isfinite(answer.posteriors).all()


def test_large_trainings_take_another_solver_and_answer_alike(monkeypatch):
    values, labels, speakers = _data(num=300)
    small = svm.classify(values, labels, speakers, values, 3)
    monkeypatch.setattr(svm, "_LIBSVM", 10)
    large = svm.classify(values, labels, speakers, values, 3)
    same = small.posteriors.argmax(axis=1) == large.posteriors.argmax(axis=1)
    assert same.mean() > 0.9
