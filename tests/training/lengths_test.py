"""Epochs and updates of one run, by hand: 15 updates are an epoch."""

import pytest

from configs import base
from ser_jax.training import lengths
from ser_jax.workdir.checkpoint import RunRecord


def _train(**keys):
    train = base.get_config().train
    train.update(keys)
    return train


def _validations(train, steps_per_epoch=15):
    record, places = RunRecord(steps_per_epoch), []
    while not lengths.has_ended(train, record):
        record.updates = lengths.next_validation(train, record)
        places.append((record.updates, record.epochs))
    return places


@pytest.mark.parametrize(
    ("keys", "places"),
    [
        ({"epochs": 2}, [(15, 1), (30, 2)]),
        ({"epochs": 0, "updates": 40}, [(15, 1), (30, 2), (40, 40 / 15)]),
        ({"epochs": 0, "updates": 40, "validate_updates": 20}, [(20, 20 / 15), (40, 40 / 15)]),
        ({"epochs": 2, "validate_updates": 25}, [(25, 25 / 15), (30, 2)]),
    ],
)  # fmt: skip
def test_a_run_is_validated_at_these_updates(keys, places):
    assert _validations(_train(**keys)) == places


def test_folds_of_other_lengths_make_the_same_updates_or_the_same_epochs():
    updates = _train(epochs=0, updates=40, validate_updates=20)
    assert [x for x, _ in _validations(updates, 13)] == [20, 40]
    assert [x for x, _ in _validations(_train(epochs=2), 13)] == [13, 26]


def test_a_run_that_stopped_early_has_ended():
    train, record = _train(epochs=2), RunRecord(15, updates=15)
    assert not lengths.has_ended(train, record)
    record.active = False
    assert lengths.has_ended(train, record)


@pytest.mark.parametrize(
    ("keys", "due"),
    [
        ({}, [15, 30, 45]),
        ({"checkpoint_epochs": 2}, [30]),
        ({"checkpoint_epochs": 0, "checkpoint_updates": 20}, [30, 45]),
    ],
)
def test_checkpoints_come_with_the_validation_that_passes_them(keys, due):
    train, found = _train(epochs=3, **keys), []
    for before, after in ((0, 15), (15, 30), (30, 45)):
        record = RunRecord(15, updates=after)
        if lengths.checkpoint_is_due(train, [before], [record]):
            found.append(after)
    assert found == due


def test_records_of_format_1_count_in_epochs():
    stored = {"ua": 0.5, "best_ua": 0.6, "best_loss": 1.5, "best_epoch": 2}
    stored |= {"waited": 1, "epochs": 3, "active": True}
    record = RunRecord.read(stored, 15)
    assert (record.updates, record.epochs) == (45, 3)
    assert (record.best_update, record.best_epoch, record.best_ua) == (30, 2, 0.6)
    assert RunRecord.read(vars(record) | {"steps_per_epoch": 15}, 15) == record
