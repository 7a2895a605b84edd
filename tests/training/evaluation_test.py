"""What results.json says of the words a model reads."""

import types

import pytest

from ser_jax.data.protocols import Fold
from ser_jax.training import evaluation
from ser_jax.training.experiment import Experiment
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
