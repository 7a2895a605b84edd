"""predictions.csv, results.json and metrics.jsonl, written and read back."""

import errno
import json

import numpy as np
import pytest

from ser_jax.corpora.utterance import Exclusion
from ser_jax.errors import InputError
from ser_jax.scoring.summary import summarise
from ser_jax.workdir import files, metrics_log, results
from ser_jax.workdir import predictions as prediction_files
from ser_jax.workdir.predictions import Prediction

CLASSES = ("angry", "sad")
RUNS = (
    {"fold": "session1", "seed": 0, "best_epoch": 3, "epochs": 5},
    {"fold": "session2", "seed": 0, "best_epoch": 5, "epochs": 5},
)
ABOUT = {
    "corpus": "iemocap",
    "corpus_is_synthetic": False,
    "protocol": {"subset": "all", "split": "session5", "selection": "val"},
    "model": "area_attn",
    "utterances": results.count_utterances(6, []),
    "seconds": {"train": np.float32(1.5)},
    "versions": {"numpy": np.__version__},
    "git_commit": "abc",
}


def _prediction(name, fold, label, decided, posteriors=(0.25, 0.75), seed=0):
    fixed = {"speaker": "1F", "session": fold, "posteriors": posteriors}
    return Prediction(name, fold, seed, label=label, prediction=decided, **fixed)


def _predictions():
    return [
        _prediction("a", "session1", "angry", "angry"),
        _prediction("b", "session1", "angry", "sad"),
        _prediction("c", "session1", "sad", "sad"),
        _prediction("d", "session1", "sad", "sad"),
        _prediction("e", "session2", "angry", "angry"),
        _prediction("f", "session2", "sad", "angry"),
    ]


def test_predictions_round_trip_keeps_order_names_and_float32(tmp_path):
    third = tuple(np.array([1 / 3, 2 / 3], np.float32))
    written = [
        _prediction('odd, "id"', "session1", "angry", "sad", third),
        _prediction("äöü", "session2", "sad", "sad", (1e-30, 1.0), seed=7),
    ]
    path = tmp_path / "predictions.csv"
    prediction_files.write(path, written, CLASSES)
    read, classes = prediction_files.read(path)
    assert classes == CLASSES
    np.testing.assert_array_equal(
        np.array([record.posteriors for record in read], np.float32),
        np.array([record.posteriors for record in written], np.float32),
    )
    names = ("utterance", "fold", "seed", "speaker", "session", "label", "prediction")
    for back, record in zip(read, written, strict=True):
        assert [getattr(back, n) for n in names] == [getattr(record, n) for n in names]
    header = path.read_text(encoding="utf-8").splitlines()[0]
    assert header == ",".join(names) + ",p_angry,p_sad"


def test_summary_by_hand():
    summary = results.assemble(summarise(_predictions(), RUNS, CLASSES), ABOUT)
    first, second = summary["runs"]
    assert (first["fold"], first["n_test"], first["best_epoch"]) == ("session1", 4, 3)
    assert (first["wa"], first["ua"]) == (0.75, 0.75)
    assert first["macro_f1"] == pytest.approx((2 / 3 + 4 / 5) / 2)
    assert (second["wa"], second["ua"], second["epochs"]) == (0.5, 0.5, 5)
    assert summary["ua"]["mean"] == 0.625
    # Sample standard deviation of 0.75 and 0.5: 0.25 / sqrt(2).
    assert summary["ua"]["std"] == pytest.approx(0.25 / 2**0.5)
    assert summary["pooled"]["confusion"] == [[2, 1], [1, 2]]
    assert summary["pooled"]["wa"] == pytest.approx(4 / 6)
    assert summary["selection"] == "val"
    assert summary["paper_mode"] is False


def test_summary_holds_the_keys_of_the_contract():
    summary = results.assemble(summarise(_predictions(), RUNS, CLASSES), ABOUT)
    assert set(summary) == {
        *("corpus", "corpus_is_synthetic", "protocol", "model", "classes", "runs"),
        *("wa", "ua", "macro_f1", "pooled", "averaged", "selection", "paper_mode"),
        "utterances",
        *("seconds", "versions", "git_commit"),
    }


def test_results_file_round_trip_and_rescoring(tmp_path):
    summary = results.assemble(summarise(_predictions(), RUNS, CLASSES), ABOUT)
    files.write_json(tmp_path / "results.json", summary)
    read = files.read_json(tmp_path / "results.json")
    assert read == summary
    assert (
        results.assemble(summarise(_predictions()[::-1], read["runs"], CLASSES), read)
        == summary
    )
    assert [item.name for item in tmp_path.iterdir()] == ["results.json"]


def test_nan_becomes_null_and_numpy_becomes_plain(tmp_path):
    content = {"a": float("nan"), "b": np.int64(3), "c": (np.float32(0.5),)}
    files.write_json(tmp_path / "r.json", content)
    text = (tmp_path / "r.json").read_text()
    assert json.loads(text) == {"a": None, "b": 3, "c": [0.5]}


def test_one_run_has_no_spread_and_names_its_absent_class():
    only = [_prediction("a", "session1", "sad", "sad")]
    summary = results.assemble(summarise(only, RUNS[:1], CLASSES), ABOUT)
    no_spread = dict.fromkeys(("std", "std_folds", "std_seeds"), 0.0)
    assert summary["wa"] == {"mean": 1.0, **no_spread}
    (run,) = summary["runs"]
    assert run["absent_classes"] == ["angry"]
    assert (run["ua"], run["ua_of_all"]) == (1.0, 0.5)


def test_spread_over_folds_and_over_seeds_by_hand():
    """UA: fold f 1 and 0.5, fold g 0.5 and 0: means .75, .25 and .75, .25."""
    lines, runs = [], []
    right = {("f", 0): 4, ("f", 1): 2, ("g", 0): 2, ("g", 1): 0}
    for (fold, seed), number in right.items():
        runs.append({"fold": fold, "seed": seed, "best_epoch": 1, "epochs": 1})
        for i, (label, other) in enumerate(
            [("angry", "sad"), ("sad", "angry"), ("angry", "sad"), ("sad", "angry")]
        ):
            decided = label if i < number else other
            lines.append(_prediction(f"{fold}{i}", fold, label, decided, seed=seed))
    ua = summarise(lines, runs, CLASSES)["ua"]
    assert ua["mean"] == 0.5
    assert ua["std"] == pytest.approx(np.std([1, 0.5, 0.5, 0], ddof=1))
    assert ua["std_folds"] == ua["std_seeds"] == pytest.approx(0.5 / np.sqrt(2))


def test_averaged_seeds_decide_by_the_mean_of_their_posteriors():
    """a: .9 and .3 of angry make .6; b: .4 and .2 make .3. Both are angry."""
    lines = [
        _prediction("a", "f", "angry", "angry", (0.9, 0.1), seed=0),
        _prediction("a", "f", "angry", "sad", (0.3, 0.7), seed=1),
        _prediction("b", "f", "angry", "sad", (0.4, 0.6), seed=0),
        _prediction("b", "f", "angry", "sad", (0.2, 0.8), seed=1),
    ]
    runs = [{**RUNS[0], "fold": "f", "seed": seed} for seed in (0, 1)]
    averaged = summarise(lines, runs, CLASSES)["averaged"]
    assert averaged["confusion"].tolist() == [[1, 1], [0, 0]]
    assert averaged["ua"] == 0.5 and averaged["seeds"] == 2
    assert averaged["interval_over"] == "utterances" and averaged["speakers"] == 1
    low, high = averaged["ua_interval"]
    assert low == 0.0 and high == 1.0


def test_seeds_pool_an_utterance_once_per_test():
    twice = [_prediction("a", "f", "sad", "sad", seed=seed) for seed in (0, 1)]
    runs = [{**RUNS[0], "fold": "f", "seed": seed, "note": "x"} for seed in (0, 1)]
    summary = results.assemble(summarise(twice, runs, CLASSES), ABOUT)
    assert summary["pooled"]["confusion"] == [[0, 0], [0, 2]]
    assert summary["runs"][1]["note"] == "x"


def test_selection_on_the_test_part_is_paper_mode():
    about = {**ABOUT, "protocol": {**ABOUT["protocol"], "selection": "test"}}
    assert (
        results.assemble(summarise(_predictions(), RUNS, CLASSES), about)["paper_mode"]
        is True
    )


@pytest.mark.parametrize(
    ("predictions", "runs", "about", "said"),
    [
        (_predictions() + _predictions()[:1], RUNS, ABOUT, "expected a once"),
        (_predictions()[:4], RUNS, ABOUT, "session2"),
        (_predictions(), RUNS[:1], ABOUT, "session2"),
        (_predictions(), RUNS + RUNS[:1], ABOUT, "one entry"),
        (_predictions(), RUNS, {"corpus": "x"}, "git_commit"),
        ([_prediction("a", "session1", "x", "sad")], RUNS[:1], ABOUT, "got 'x'"),
    ],
)
def test_inconsistent_results_are_refused(predictions, runs, about, said):
    with pytest.raises(ValueError, match=said):
        results.assemble(summarise(predictions, runs, CLASSES), about)


def test_exclusions_are_counted_by_reason_and_listed():
    excluded = [
        Exclusion("a", "too short", "30 ms"),
        Exclusion("b", "missing wav"),
        Exclusion("c", "too short", "20 ms"),
    ]
    counted = results.count_utterances(9, excluded, padded_short=2, resampled=4)
    assert list(counted["skipped"].items()) == [("too short", 2), ("missing wav", 1)]
    assert counted["excluded"][2] == {
        "id": "c",
        "reason": "too short",
        "detail": "20 ms",
    }
    assert (counted["used"], counted["padded_short"], counted["resampled"]) == (9, 2, 4)


def test_failed_write_keeps_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "results.json"
    files.write_json(path, {"old": True})
    monkeypatch.setattr("os.replace", _no_space)
    with pytest.raises(InputError, match="cannot write .*no space"):
        files.write_atomically(path, b"new")
    assert json.loads(path.read_text()) == {"old": True}
    assert [item.name for item in tmp_path.iterdir()] == ["results.json"]


def _no_space(*_):
    raise OSError(errno.ENOSPC, "no space left")


def test_metrics_skip_torn_lines_and_keep_the_last_of_repeated_epochs(tmp_path):
    path = tmp_path / "metrics.jsonl"
    assert metrics_log.read(path) == []
    lines = [
        {"epoch": 2, "fold": "s1", "seed": 0, "train_loss": 0.5},
        {"epoch": 1, "fold": "s1", "seed": 0, "train_loss": 0.9},
        {"epoch": 1, "fold": "s2", "seed": 0, "train_loss": 0.8},
        {"epoch": 2, "fold": "s1", "seed": 0, "train_loss": 0.4},
    ]
    text = "\n".join(map(json.dumps, lines)) + '\n{"epoch": 3, "fo'
    path.write_text(text)
    read = metrics_log.read(path)
    assert [(e["fold"], e["epoch"], e["train_loss"]) for e in read] == [
        *[("s1", 1, 0.9), ("s1", 2, 0.4)],
        ("s2", 1, 0.8),
    ]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "an empty file"),
        ("utterance,fold\n", "label, prediction"),
        ("H\na,s1,zero,1F,s1,sad,sad,0,1\n", "line 2"),
        ("H\na,s1,0,1F,s1,sad,sad,0\n", "line 2"),
        ("H\na,s1,0,1F,s1,glad,sad,0,1\n", "'glad'"),
    ],
)
def test_damaged_predictions_are_an_input_error(tmp_path, text, said):
    header = "utterance,fold,seed,speaker,session,label,prediction,p_angry,p_sad"
    path = tmp_path / "predictions.csv"
    path.write_text(text.replace("H", header))
    with pytest.raises(InputError, match=said):
        prediction_files.read(path)


def test_missing_or_damaged_json_is_an_input_error(tmp_path):
    with pytest.raises(InputError, match="resumes"):
        files.read_json(tmp_path / "results.json")
    (tmp_path / "results.json").write_text('{"corpus": "iem')
    with pytest.raises(InputError, match="breaks off"):
        files.read_json(tmp_path / "results.json")
    (tmp_path / "results.json").write_text("[1]")
    with pytest.raises(InputError, match="JSON object"):
        files.read_json(tmp_path / "results.json")


def test_records_must_fit_the_classes(tmp_path):
    record = _prediction("a", "session1", "sad", "sad", (0.1, 0.2, 0.7))
    with pytest.raises(ValueError, match="2 posteriors for a, got 3"):
        prediction_files.write(tmp_path / "p.csv", [record], CLASSES)
