"""Averaged posteriors of workdirs, against sums that a person can do."""

import itertools
import json

import pytest

from ser_jax.baseline import baseline
from ser_jax.ensemble import ensemble
from ser_jax.errors import InputError
from ser_jax.report import report
from ser_jax.workdir import contents, files
from tests.ensemble import folders
from tests.ensemble.folders import (
    CLASSES,
    EVEN,
    OTHER,
    TESTED,
    VALIDATED,
    VALIDATED_OTHERWISE,
)


def test_an_even_mean_by_hand(tmp_path):
    one, other = (
        folders.write(tmp_path / name, said)
        for name, said in (("one", TESTED), ("other", OTHER))
    )
    content = folders.fuse(tmp_path, one, other)
    assert folders.posteriors(tmp_path / "out") == EVEN
    # One errs on b1 and a2, the other on a1: together they err on none.
    assert [run["ua"] for run in content["runs"]] == [1.0, 1.0]
    read = contents.read(tmp_path / "out")
    assert [x.prediction for x in read.predictions] == ["angry", "sad", "angry", "glad"]
    assert read.results == files.plain(content) and read.results["ensemble"]
    assert content["model"] == "Ensemble of one and other"
    members = content["ensemble"]["members"]
    assert [x["config"] for x in members] == ["one:demo", "other:demo"]
    assert [x["path"] for x in members] == [str(one), str(other)]
    assert members[0]["weights"] == {"s1": 0.5, "s2": 0.5}
    assert content["ensemble"]["seeds"] == "one by one"
    stored = json.loads((tmp_path / "out" / "config.json").read_text())
    assert stored["members"][0]["config"]["train"] == {"epochs": 2}
    assert {run["n_train"] for run in content["runs"]} == {5}


def test_the_order_of_members_and_of_their_classes_plays_no_part(tmp_path):
    # Sums whose rounding depends on the order, and ties that hang on it.
    third = {key: (label, (0.1, 0.2, 0.7)) for key, (label, _) in TESTED.items()}
    turned = (2, 0, 1)
    members = [
        folders.write(tmp_path / "a", TESTED, validated=VALIDATED),
        folders.write(
            tmp_path / "b",
            folders.reordered(OTHER, turned),
            classes=tuple(CLASSES[k] for k in turned),
            validated=folders.reordered(VALIDATED_OTHERWISE, turned),
        ),
        folders.write(tmp_path / "c", third, validated=VALIDATED_OTHERWISE),
    ]
    for weights in ensemble.WEIGHTS:
        found = []
        for order in itertools.permutations(members):
            content = folders.fuse(tmp_path, *order, weights=weights)
            read = contents.read(tmp_path / "out")
            lines = sorted(read.predictions, key=lambda x: (x.fold, x.utterance))
            chosen = {x["name"]: x["weights"] for x in content["ensemble"]["members"]}
            found.append((lines, read.classes, chosen, content["pooled"]))
        assert all(x == found[0] for x in found)


def test_classes_in_another_order_are_the_same_classes(tmp_path):
    turned = (1, 2, 0)
    classes = tuple(CLASSES[k] for k in turned)
    one = folders.write(tmp_path / "one", TESTED, validated=VALIDATED)
    about = {
        "classes": classes,
        "validated": folders.reordered(VALIDATED_OTHERWISE, turned),
    }
    other = folders.write(tmp_path / "other", folders.reordered(OTHER, turned), **about)
    content = folders.fuse(tmp_path, one, other)
    assert content["classes"] == [*CLASSES]
    assert folders.posteriors(tmp_path / "out") == EVEN
    content = folders.fuse(tmp_path, one, other, weights="validation")
    weights = content["ensemble"]["members"][1]["weights"]
    assert weights == pytest.approx({"s1": 0.1875, "s2": 1.0}, abs=1e-4)


def test_runs_of_the_same_seeds_are_fused_one_by_one(tmp_path):
    one = folders.write(tmp_path / "one", own={0: TESTED, 3: OTHER})
    other = folders.write(tmp_path / "other", own={3: TESTED, 0: TESTED})
    content = folders.fuse(tmp_path, one, other)
    found = folders.posteriors(tmp_path / "out")
    assert found["s1", 0, "a1"] == (0.6, 0.3, 0.1)
    assert found["s1", 3, "a1"] == (0.4, 0.35, 0.25)
    assert content["averaged"]["seeds"] == 2


def test_other_seeds_are_averaged_in_each_member_first(tmp_path):
    one = folders.write(tmp_path / "one", own={0: TESTED, 1: OTHER})
    other = folders.write(tmp_path / "other", own={5: TESTED})
    content = folders.fuse(tmp_path, one, other)
    # (EVEN + TESTED) / 2, not two thirds of TESTED.
    found = folders.posteriors(tmp_path / "out")
    assert found["s1", 0, "a1"] == (0.5, 0.325, 0.175)
    assert len(found) == 4 and [x["seed"] for x in content["runs"]] == [0, 0]
    assert content["ensemble"]["seeds"] == "averaged first"
    assert [x["seeds"] for x in content["ensemble"]["members"]] == [[0, 1], [5]]
    report.write_report(tmp_path / "out")
    text = (tmp_path / "out" / "report.md").read_text()
    assert "each averages its own first" in text
    one = folders.write(
        tmp_path / "split", own={0: TESTED, 1: dict([*OTHER.items()][1:])}
    )
    with pytest.raises(InputError, match="got a1 of fold s1 in split with 1 of 2"):
        folders.fuse(tmp_path, one, other)


@pytest.mark.parametrize(
    ("said", "about", "words"),
    [
        (OTHER, {"corpus": "emodb"}, "one corpus; got one and other on demo and emodb"),
        (OTHER, {"sounds": "0123"}, "the same recordings.*ab12 and 0123"),
        (OTHER, {"classes": ("angry", "sad", "happy")}, "same classes; got one and"),
        (folders.without(OTHER, "a2", "c2"), {}, "folds s1, s2 and s1"),
        (
            folders.without(OTHER, "b1"),
            {},
            "2 and 1 utterances in fold s1, seed 0, b1 in one",
        ),
        (
            OTHER | {("s1", "b1"): ("angry", (0.1, 0.8, 0.1))},
            {},
            "label 'sad' and 'angry' of b1",
        ),
        (OTHER, {"speaker": "s"}, "speaker 's1' and 's' of a1"),
    ],
)
def test_workdirs_that_tested_something_else_are_refused(tmp_path, said, about, words):
    if "happy" in about.get("classes", ()):
        said = {k: ("happy" if x == "glad" else x, p) for k, (x, p) in said.items()}
    one = folders.write(tmp_path / "one", TESTED, sounds="ab12")
    other = folders.write(tmp_path / "other", said, **about)
    with pytest.raises(InputError, match=words) as raised:
        folders.fuse(tmp_path, one, other)
    assert "\n" not in str(raised.value) and not (tmp_path / "out").exists()


def test_recordings_that_only_one_used_do_not_count_as_others(tmp_path):
    one = folders.write(tmp_path / "one", TESTED, sounds="ab12")
    other = folders.write(tmp_path / "other", OTHER, sounds="0123")
    splits = json.loads((other / "splits.json").read_text())
    splits["labels"]["trained"] = "sad"
    files.write_json(other / "splits.json", splits)
    folders.fuse(tmp_path, one, other)
    stored = json.loads((tmp_path / "out" / "splits.json").read_text())
    assert "sounds" not in stored and stored["labels"]["trained"] == "sad"


def test_splits_hold_what_any_member_had(tmp_path):
    members = []
    for name, train, val in (("one", ["x"], ["y"]), ("other", ["x", "y"], ["z"])):
        members.append(folders.write(tmp_path / name, TESTED, sounds="ab12"))
        splits = json.loads((members[-1] / "splits.json").read_text())
        parts = {"train": train, "val": val, "test": ["a1", "b1"]}
        splits["folds"] = [{"name": "s1", "seed": 0, **parts}]
        files.write_json(members[-1] / "splits.json", splits)
    folders.fuse(tmp_path, *members)
    stored = json.loads((tmp_path / "out" / "splits.json").read_text())
    parts = {"train": ["x", "y"], "val": ["z"], "test": ["a1", "b1"]}
    assert stored["folds"] == [{"name": "s1", "seed": 0, **parts}]
    assert stored["sounds"] == "ab12" and stored["classes"] == [*CLASSES]


def test_no_baseline_without_the_splits_of_all(tmp_path):
    one = folders.write(tmp_path / "one", TESTED, sounds="ab12")
    folders.fuse(tmp_path, one, folders.write(tmp_path / "other", OTHER))
    with pytest.raises(InputError, match="splits.json in the members of .*/out; got"):
        baseline.run(str(tmp_path / "out"))


def test_folders_that_are_somebody_elses_are_refused(tmp_path):
    one, other = (folders.write(tmp_path / x) for x in ("one", "other"))
    with pytest.raises(InputError, match="got .*/one, a member"):
        ensemble.run([one, other], str(one))
    with pytest.raises(InputError, match="figures, a member"):
        ensemble.run([one, other], str(one / "figures"))
    (tmp_path / "link").symlink_to(one)
    with pytest.raises(InputError, match="every workdir once"):
        ensemble.run([one, tmp_path / "link"], str(tmp_path / "out"))
    third = folders.write(tmp_path / "third")
    with pytest.raises(InputError, match="got .*/third, a workdir"):
        ensemble.run([one, other], str(third))
    with pytest.raises(InputError, match="every workdir once"):
        ensemble.run([one, tmp_path / "x" / ".." / "one"], str(tmp_path / "out"))
    for out, members in (("", [one, other]), ("out", [one])):
        with pytest.raises(InputError, match="--out=FOLDER"):
            ensemble.run(members, out)
    with pytest.raises(InputError, match="equal, validation, best; got 'worst'"):
        folders.fuse(tmp_path, one, other, weights="worst")


def test_an_ensemble_is_written_again_and_is_a_member_itself(tmp_path):
    first = folders.two_validated(tmp_path, sounds="ab12")
    files.write_json(first[0] / "splits.json", {"labels": {}, "folds": []})
    folders.fuse(tmp_path, *first, weights="validation")
    assert (tmp_path / "out" / "splits.json").exists()
    plain = [folders.write(tmp_path / x, OTHER) for x in ("p", "q")]
    folders.fuse(tmp_path, *plain)
    left = {path.name for path in (tmp_path / "out").iterdir()}
    # Nothing of the first one that the second does not have.
    assert left - {".lock", ".lock.json"} == {
        "config.json",
        "predictions.csv",
        "results.json",
    }
    third = folders.write(tmp_path / "third", TESTED)
    content = ensemble.run([tmp_path / "out", third], str(tmp_path / "both"))
    assert content["model"] == "Ensemble of Ensemble of p and q and third"
    assert folders.posteriors(tmp_path / "both") == EVEN


def test_a_damaged_member_is_named(tmp_path):
    one, other = (folders.write(tmp_path / x) for x in ("one", "other"))
    lines = (other / "predictions.csv").read_text().splitlines()
    (other / "predictions.csv").write_text("\n".join(lines[:-2]) + "\n")
    with pytest.raises(InputError, match="of one training in .*/other"):
        folders.fuse(tmp_path, one, other)
