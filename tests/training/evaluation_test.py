"""What results.json says of the words a model reads, and of other choices of epoch."""

import types

import pytest

from ser_jax.data.protocols import Fold
from ser_jax.scoring import summary
from ser_jax.training import evaluation, selection
from ser_jax.training.experiment import Experiment
from ser_jax.workdir.checkpoint import RunRecord, Snapshot
from tests.data.turns import turn


def experiment_with(**fields):
    """An Experiment without the parts that play no part here."""
    experiment = object.__new__(Experiment)
    experiment.__dict__.update(fields)
    return experiment


def test_text_read_counts_what_was_said_or_heard():
    said = ("Go.", "Why not?", "Stop it.", "go", "Well.", "Why not")
    heard = ("No", "", "Stop at", "though", "no!", "wine")
    dialogs = ("Ses01F_impro01", "Ses01F_script01_1", "Ses01F_script02_1")
    dialogs += ("Ses02F_impro01", "Ses02M_script01_1b", "Ses02F_script03_1")
    turns = tuple(
        turn(str(i), f"{1 + i // 3}F", "neu", text=text, dialog=dialog)
        for i, (text, dialog) in enumerate(zip(said, dialogs, strict=True))
    )
    folds = (Fold("a", 0, (0, 1, 2), (), (3, 4, 5)), Fold("b", 0, (3,), (), (1, 2)))
    experiment = experiment_with(
        corpus=types.SimpleNamespace(utterances=turns),
        texts=heard,
        text={"source": "asr", "asr": {"wer": 0.5}},
        runs=tuple(types.SimpleNamespace(fold=fold) for fold in folds),
    )
    found = evaluation.text_read(experiment)
    assert found["source"] == "asr" and found["asr"] == {"wer": 0.5}
    # Fold a: said 3 and 5, heard 4; fold b: none.
    shares = found["sentences_also_in_training"]
    assert shares == {"mean": pytest.approx(0.5), "max": pytest.approx(1.0)}
    assert found["scripts_also_in_training"] is True  # script01 in fold a
    experiment.__dict__["runs"] = experiment.runs[1:]
    assert evaluation.text_read(experiment)["scripts_also_in_training"] is False


# UA, loss and decisions of the test part after 10, 20 and 30 updates, by fold.
SERIES = {
    "f": [
        (0.5, 0.9, [[1, 1], [1, 1]]),
        (0.75, 0.6, [[2, 0], [1, 1]]),
        (0.75, 0.7, [[1, 1], [0, 2]]),  # as good, but less sure
    ],
    "g": [(1.0, 0.2, [[2, 0], [0, 2]]), (0.5, 0.8, [[2, 0], [2, 0]])],  # stopped early
}


def _compared(series):
    record = RunRecord(steps_per_epoch=8)
    for ua, loss, confusion in series:
        record.updates += 10
        tested = {"ua": ua, "loss": loss, "confusion": confusion}
        selection.compare_selections(record, tested)
    return record


def test_selections_by_hand():
    """Validation chose f after 10 updates (UA .5) and g after 20 (.5)."""
    records = [_compared(series) for series in SERIES.values()]
    runs = [
        {"fold": "f", "seed": 0, "best_epoch": 1.25, "best_update": 10, "epochs": 3.75},
        {"fold": "g", "seed": 0, "best_epoch": 2.5, "best_update": 20, "epochs": 2.5},
    ]
    chosen = [SERIES["f"][0][2], SERIES["g"][1][2]]
    scores = summary.score_runs(runs, chosen, ["a", "b"]) | {"classes": ["a", "b"]}
    snapshot = Snapshot(None, None, None, records)
    found = evaluation.selections(scores, runs, snapshot, "val")
    assert list(found) == ["val", "test", "last"]
    assert found["val"]["ua"] == scores["ua"] and scores["ua"]["mean"] == 0.5
    test, last = found["test"], found["last"]
    assert test["ua"]["mean"] == 0.875  # of .75 and 1
    assert test["ua"]["std"] == pytest.approx(0.25 / 2**0.5)
    assert test["pooled"]["confusion"].tolist() == [[4, 0], [1, 3]]
    assert test["pooled"]["ua"] == 0.875 and test["pooled"]["wa"] == 7 / 8
    places = [(x["ua"], x["best_update"], x["best_epoch"]) for x in test["runs"]]
    assert places == [(0.75, 20, 2.5), (1.0, 10, 1.25)]
    assert [x["best_update"] for x in last["runs"]] == [30, 20]
    assert last["ua"]["mean"] == last["pooled"]["ua"] == 0.625  # of .75 and .5
    # A training that tests its last epoch knows of no validation.
    assert list(evaluation.selections(scores, runs, snapshot, "last")) == [
        "test",
        "last",
    ]
