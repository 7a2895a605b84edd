"""Weights that validation chooses, by hand; and that nothing else has a say in them."""

import pytest

from ser_jax.errors import InputError
from ser_jax.workdir import predictions
from tests.ensemble import folders
from tests.ensemble.folders import (
    CLASSES,
    OTHER,
    TESTED,
    VALIDATED,
    VALIDATED_OTHERWISE,
)


def test_validation_chooses_the_weights_of_each_fold(tmp_path):
    content = folders.fuse(
        tmp_path, *folders.two_validated(tmp_path), weights="validation"
    )
    one, other = (x["weights"] for x in content["ensemble"]["members"])
    # See scoring/fusion_test.py for the 0.8125.
    assert one == pytest.approx({"s1": 0.8125, "s2": 0.0}, abs=1e-4)
    assert other == pytest.approx({"s1": 0.1875, "s2": 1.0}, abs=1e-4)
    found = folders.posteriors(tmp_path / "out")
    assert found["s1", 0, "a1"] == pytest.approx((0.525, 0.31875, 0.15625), abs=1e-4)
    assert found["s2", 0, "a2"] == (0.7, 0.1, 0.2)
    held_out, _ = predictions.read(tmp_path / "out" / "validation.csv")
    of_v1 = next(x.posteriors for x in held_out if x.utterance == "v1")
    assert of_v1 == pytest.approx((0.75, 0.25, 0.0), abs=1e-4)
    sizes = {x["fold"]: x["n_val"] for x in content["calibration"]["temperatures"]}
    assert sizes == {"s1": 4, "s2": 2}


def test_the_best_of_each_fold_answers_alone(tmp_path):
    content = folders.fuse(tmp_path, *folders.two_validated(tmp_path), weights="best")
    one, other = (x["weights"] for x in content["ensemble"]["members"])
    assert one == {"s1": 1, "s2": 0} and other == {"s1": 0, "s2": 1}
    assert folders.posteriors(tmp_path / "out") == {
        (fold, 0, name): said[fold, name][1]
        for fold, said in (("s1", TESTED), ("s2", OTHER))
        for name in (x for of, x in TESTED if of == fold)
    }


def test_equal_weights_have_a_temperature_as_well(tmp_path):
    content = folders.fuse(tmp_path, *folders.two_validated(tmp_path))
    held_out, _ = predictions.read(tmp_path / "out" / "validation.csv")
    assert held_out[0].posteriors == pytest.approx((0.5, 0.5, 0.0), abs=1e-9)
    assert [x["n_val"] for x in content["calibration"]["temperatures"]] == [4, 2]


def test_nothing_that_is_tested_moves_a_weight(tmp_path):
    before = folders.fuse(
        tmp_path, *folders.two_validated(tmp_path), weights="validation"
    )
    # The other one now knows every answer.
    truth = {
        key: (label, tuple(float(label == name) for name in CLASSES))
        for key, (label, _) in TESTED.items()
    }
    members = folders.two_validated(tmp_path, said=truth)
    after = folders.fuse(tmp_path, *members, weights="validation")
    weights = [
        [x["weights"] for x in y["ensemble"]["members"]] for y in (before, after)
    ]
    assert weights[0] == weights[1]
    assert folders.posteriors(tmp_path / "out")["s2", 0, "a2"] == (1.0, 0.0, 0.0)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"validated": None}, "got none, as with protocol.selection=last"),
        (
            {"validated": None, "rules": {"selection": "val"}},
            "got none. Repeat `run.py evaluate`, which writes it",
        ),
        (
            {"validated": folders.without(VALIDATED_OTHERWISE, "v2")},
            "validated the same.*4 and 3 utterances in fold s1, seed 0, v2",
        ),
        (
            {"validated": folders.without(VALIDATED_OTHERWISE, "a1", "b1")},
            "got others, as fold s2, seed 0",
        ),
    ],
)
def test_weights_need_what_all_validated(tmp_path, changes, words):
    members = folders.two_validated(tmp_path, **changes)
    with pytest.raises(InputError, match=words) as raised:
        folders.fuse(tmp_path, *members, weights="validation")
    assert "\n" not in str(raised.value)
    content = folders.fuse(tmp_path, *members)  # and equal ones need none
    assert "temperatures" not in content["calibration"]
    assert not (tmp_path / "out" / "validation.csv").exists()


def test_what_is_tested_validates_nothing(tmp_path):
    told = [
        x | {("s1", "b1"): OTHER["s1", "b1"]} for x in (VALIDATED, VALIDATED_OTHERWISE)
    ]
    members = [
        folders.write(tmp_path / name, validated=validated)
        for name, validated in zip(("one", "other"), told, strict=True)
    ]
    with pytest.raises(InputError, match="got b1, which fold s1 tests"):
        folders.fuse(tmp_path, *members, weights="validation")


def test_seeds_that_test_other_utterances_have_weights_of_their_own(tmp_path):
    """As random splits do: what one seed validates another one tests."""
    members = []
    for name, said_a1, said_c2 in (("one", TESTED, OTHER), ("other", OTHER, TESTED)):
        a1 = {("split", "a1"): said_a1["s1", "a1"]}
        c2 = {("split", "c2"): said_c2["s2", "c2"]}
        members.append(folders.write(tmp_path / name, own={0: a1, 1: c2}))
        held_out = [*folders.lines(c2, seeds=(0,)), *folders.lines(a1, seeds=(1,))]
        predictions.write(members[-1] / "validation.csv", held_out, CLASSES)
    content = folders.fuse(tmp_path, *members, weights="validation")
    weights = [x["weights"] for x in content["ensemble"]["members"]]
    assert weights[0] == {"split, seed 0": 0.0, "split, seed 1": 1.0}
    assert weights[1] == {"split, seed 0": 1.0, "split, seed 1": 0.0}
    assert folders.posteriors(tmp_path / "out") == {
        ("split", 0, "a1"): (0.2, 0.4, 0.4),
        ("split", 1, "c2"): (0.3, 0.3, 0.4),
    }
