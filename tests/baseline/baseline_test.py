"""The baseline of a trained workdir: its folds, its tests, its row."""

import dataclasses
import json
import shutil

import pytest
from ml_collections import ConfigDict

from ser_jax.baseline import baseline, feature_sets
from ser_jax.data import protocols
from ser_jax.errors import InputError
from ser_jax.report import report
from ser_jax.scoring import summary
from ser_jax.workdir import contents, files, predictions
from tests import conftest


@pytest.fixture
def workdir(quick_workdir, tmp_path):
    return shutil.copytree(quick_workdir, tmp_path / "w")


@pytest.fixture
def no_extraction(monkeypatch):
    """Fails if a recording is read; what was kept serves."""

    def refuse(name, wav):
        raise AssertionError(f"{wav} was read")

    monkeypatch.setattr(feature_sets, "_vector", refuse)


def _edit(workdir, name, **changes):
    path = workdir / name
    content = json.loads(path.read_text())
    path.write_text(json.dumps(content | changes))


def _posteriors(workdir) -> dict:
    lines = contents.read(workdir).baseline.predictions
    return {(x.fold, x.utterance): x.posteriors for x in lines}


def test_it_tests_what_the_system_tested(workdir):
    content = baseline.run(str(workdir))
    training = contents.read(workdir)
    base = training.baseline

    def tests(one):
        keys = ("utterance", "fold", "seed", "speaker", "session", "label", "corpus")
        return [tuple(getattr(x, key) for key in keys) for x in one.predictions]

    assert tests(base) == tests(training) and base.classes == training.classes
    assert base.results == files.plain(content)
    # Tones an octave and a half apart: statistics tell them, as they should.
    assert content["averaged"]["ua"] > 0.9
    splits = json.loads((workdir / "splits.json").read_text())["folds"]
    sizes = [len(fold["train"]) + len(fold["val"]) for fold in splits]
    assert [run["n_train"] for run in content["runs"]] == sizes
    assert content["baseline"]["unknown"] == ["speakers"]
    assert content["baseline"]["dimensions"] == 349


def test_no_label_and_no_sound_of_a_test_part_is_used(workdir, monkeypatch):
    baseline.run(str(workdir))
    clean = _posteriors(workdir)
    # The labels of everything that fold s1 tests, turned around.
    splits = json.loads((workdir / "splits.json").read_text())
    fold = next(x for x in splits["folds"] if x["name"] == "s1")
    turn = {"low": "mid", "mid": "high", "high": "low"}
    labels = splits["labels"]
    labels |= {name: turn[labels[name]] for name in fold["test"]}
    _edit(workdir, "splits.json", labels=labels)
    baseline.run(str(workdir))
    poisoned = _posteriors(workdir)
    tested = [key for key in clean if key[0] == "s1"]
    assert all(poisoned[key] == clean[key] for key in tested)
    assert any(poisoned[key] != clean[key] for key in clean)  # where they train
    # The sound of one of them.
    load = feature_sets.load

    def deafened(name, utterances, data):
        vectors = load(name, utterances, data)
        row = [u.id for u in utterances].index(fold["test"][0])
        vectors.values[row] = 1e3
        return vectors

    monkeypatch.setattr(feature_sets, "load", deafened)
    baseline.run(str(workdir))
    poisoned = _posteriors(workdir)
    changed = {key for key in tested if poisoned[key] != clean[key]}
    assert changed == {("s1", fold["test"][0])}


def test_a_test_part_that_is_not_the_systems_is_refused(workdir):
    splits = json.loads((workdir / "splits.json").read_text())
    splits["folds"][0]["train"].append(splits["folds"][0]["test"].pop())
    _edit(workdir, "splits.json", folds=splits["folds"])
    with pytest.raises(InputError, match="expected the test part of fold s1, seed 0"):
        baseline.run(str(workdir))


def test_a_tested_utterance_that_trains_is_refused(workdir):
    splits = json.loads((workdir / "splits.json").read_text())
    fold = splits["folds"][0]
    fold["train"].append(fold["test"][0])
    _edit(workdir, "splits.json", folds=splits["folds"])
    leak = f"first {fold['test'][0]}, in training and test"
    with pytest.raises(InputError, match=leak):
        baseline.run(str(workdir))


def test_a_tested_speaker_who_trains_is_refused_where_speakers_are_apart(workdir):
    results = json.loads((workdir / "results.json").read_text())
    assert results["protocol"]["kept_apart"] == ["speaker"]
    splits = json.loads((workdir / "splits.json").read_text())
    fold = splits["folds"][0]
    one, other = fold["test"][0], fold["train"][0]
    table = contents.read(workdir).predictions
    named = {x.utterance: "Ann" if x.utterance in (one, other) else "" for x in table}
    lines = [dataclasses.replace(x, speaker=named[x.utterance]) for x in table]
    predictions.write(
        workdir / "predictions.csv", lines, contents.read(workdir).classes
    )
    for kept in ("session", "speaker"):
        rules = results["protocol"] | {"kept_apart": [kept]}
        _edit(workdir, "results.json", protocol=rules)
        if kept == "session":
            baseline.run(str(workdir))  # nothing was said of speakers
    with pytest.raises(InputError, match=f"no speaker of fold {fold['name']}.*got Ann"):
        baseline.run(str(workdir))


def test_the_partner_of_a_tested_speaker_does_not_train(quick_workdir):
    training = contents.read(quick_workdir)
    splits = json.loads((quick_workdir / "splits.json").read_text())
    apart = baseline._folds(training, splits, "speaker10")
    joined = baseline._folds(training, splits, "group")
    for fold in splits["folds"]:
        key = fold["name"], fold["seed"]
        assert [*apart[key].train] == sorted(fold["train"])
        assert [*joined[key].train] == sorted(fold["train"] + fold["val"])


def test_equal_parts_are_fitted_once_whatever_the_seed(workdir, monkeypatch):
    splits = json.loads((workdir / "splits.json").read_text())
    again = [fold | {"seed": 1} for fold in splits["folds"]]
    _edit(workdir, "splits.json", folds=splits["folds"] + again)
    results = json.loads((workdir / "results.json").read_text())
    runs = results["runs"] + [x | {"seed": 1} for x in results["runs"]]
    _edit(workdir, "results.json", runs=runs)
    lines = contents.read(workdir).predictions
    twice = [*lines, *(dataclasses.replace(x, seed=1) for x in lines)]
    predictions.write(workdir / "predictions.csv", twice, results["classes"])
    fitted, classify = [], baseline.svm.classify

    def count(*arguments):
        fitted.append(arguments)
        return classify(*arguments)

    monkeypatch.setattr(baseline.svm, "classify", count)
    content = baseline.run(str(workdir))
    assert len(fitted) == 5 and len(content["runs"]) == 10
    assert content["averaged"]["seeds"] == 2
    assert content["ua"]["std_seeds"] == 0


def test_vectors_are_kept_by_content(workdir, request):
    first = baseline.run(str(workdir))
    request.getfixturevalue("no_extraction")
    assert baseline.run(str(workdir))["pooled"] == first["pooled"]
    assert baseline.ensure(str(workdir)) is None


def test_a_moved_corpus_is_found_again_and_another_one_is_not(workdir, tones, tmp_path):
    moved = shutil.copytree(tones.parent, tmp_path / "moved")
    config = json.loads((workdir / "config.json").read_text())["config"]
    config["data"]["manifest"] = str(tmp_path / "gone" / "manifest.csv")
    _edit(workdir, "config.json", config=config)
    with pytest.raises(InputError, match="--data="):
        baseline.run(str(workdir))
    baseline.run(str(workdir), data=str(moved))
    other = tmp_path / "other"
    other.mkdir()
    conftest.write_tones(other, seed=1)
    with pytest.raises(InputError, match="Expected the recordings of"):
        baseline.run(str(workdir), data=str(other))
    (moved / "s1_low_0.wav").write_bytes(b"no sound")
    with pytest.raises(InputError, match="s1_low_0.wav: unreadable"):
        baseline.run(str(workdir), data=str(moved))
    manifest = (moved / "manifest.csv").read_text().splitlines()
    (moved / "manifest.csv").write_text("\n".join(manifest[:-1]) + "\n")
    with pytest.raises(InputError, match="got none for 1, first"):
        baseline.run(str(workdir), data=str(moved))


def _report(workdir) -> tuple[str, str]:
    return report.write_report(workdir), (workdir / "report.md").read_text()


def test_its_row_stands_in_table_report_and_comparison(workdir, tmp_path):
    without, _ = _report(workdir)
    assert "linear SVM" not in without
    content = baseline.run(str(workdir))
    table, page = _report(workdir)
    ua = f"{100 * content['averaged']['ua']:.2f}"
    (row,) = (line for line in table.splitlines() if line.startswith("linear SVM"))
    assert row.split()[2] == ua
    assert f"| linear SVM |  | {ua} |" in page
    assert "## Beside a linear SVM" in page
    assert "(sign flips of 5 speakers)" in page and "(sign flips of 5" in table
    other = shutil.copytree(workdir, tmp_path / "v")
    shutil.rmtree(other / "baseline")
    report.write_comparison([workdir, other])
    compared = (tmp_path / "comparison.md").read_text()
    assert compared.count("| `w/baseline` | linear SVM, functionals |") == 1
    assert "Without a baseline (`run.py baseline`): `v`." in compared
    baseline.run(str(other))
    report.write_comparison([workdir, other])
    compared = (tmp_path / "comparison.md").read_text()
    assert "v/baseline" not in compared  # it answers as the other one
    report.write_comparison([workdir, workdir / "baseline"])
    compared = (tmp_path / "comparison.md").read_text()
    assert "| `baseline` | linear SVM, functionals |" in compared
    assert "w/baseline" not in compared and "Without a baseline" not in compared


def test_a_system_that_is_no_better_says_so(workdir):
    baseline.run(str(workdir))
    lines = contents.read(workdir).predictions
    classes = contents.read(workdir).classes
    right = [
        dataclasses.replace(
            x,
            posteriors=tuple(float(x.label == name) for name in classes),
            prediction=x.label,
        )
        for x in lines
    ]
    wrong = [dataclasses.replace(x, prediction=classes[0]) for x in lines]
    for folder, said, expected in (
        (workdir, wrong, True),  # the system fails, the SVM does not
        (workdir, right, True),  # both are right: no better
        (workdir / "baseline", wrong, False),
    ):
        _rewrite(folder, said, classes)
        _, page = _report(workdir)
        assert ("**Not better than a linear SVM.**" in page) == expected


def _rewrite(folder, lines, classes):
    """Other answers in both files of a folder."""
    runs = json.loads((folder / "results.json").read_text())["runs"]
    scores = summary.summarise(lines, runs, classes)
    _edit(folder, "results.json", **files.plain(scores))
    predictions.write(folder / "predictions.csv", lines, classes)


def test_folds_that_leak_have_no_p(workdir):
    baseline.run(str(workdir))
    results = json.loads((workdir / "results.json").read_text())
    promises = ["speakers and sessions are SHARED by training and test"]
    shared = {"promises": promises, "kept_apart": []}
    _edit(workdir, "results.json", protocol=results["protocol"] | shared)
    table, page = _report(workdir)
    assert "sign flips" not in page and "sign flips" not in table
    assert " points. No significance test" in page
    report.write_comparison([workdir, workdir / "baseline"])
    assert "p, Holm" not in (workdir.parent / "comparison.md").read_text()


def test_answers_of_other_tests_are_refused(workdir):
    baseline.run(str(workdir))
    lines = contents.read(workdir).baseline.predictions
    classes = contents.read(workdir).classes
    _rewrite(workdir / "baseline", lines[1:], classes)
    with pytest.raises(InputError, match="repeat `run.py baseline`"):
        report.write_report(workdir)
    (workdir / "baseline" / "predictions.csv").write_text("torn")
    baseline.run(str(workdir))
    report.write_report(workdir)


def test_paper_mode_is_the_systems_alone(workdir):
    results = json.loads((workdir / "results.json").read_text())
    rules = results["protocol"] | {"selection": "test", "target_use": "unlabelled"}
    rules["promises"] = protocols.promises(
        ConfigDict(rules | {"compare_selections": False}), compared=True, near=()
    )
    _edit(workdir, "results.json", protocol=rules, selection="test", paper_mode=True)
    content = baseline.run(str(workdir))
    assert not content["paper_mode"] and content["protocol"]["target_use"] == ""
    assert [*content["protocol"]["promises"]] == [*rules["promises"][:-1]]
    assert rules["promises"][-1].startswith("PAPER MODE")


@pytest.mark.parametrize("name", ["compare", "egemaps"])
def test_a_missing_package_is_one_line_with_the_command(name, monkeypatch):
    monkeypatch.setattr(feature_sets.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"pip install -e '\.\[opensmile\]'"):
        baseline.run("w", name)


@pytest.mark.parametrize("name", ["compare", "egemaps"])
def test_opensmiles_sets(name, workdir):
    pytest.importorskip("opensmile")
    content = baseline.run(str(workdir), name)
    assert content["baseline"]["dimensions"] == {"compare": 6373, "egemaps": 88}[name]
    assert "non-commercial research" in content["baseline"]["described"]
    assert content["averaged"]["ua"] > 0.9
