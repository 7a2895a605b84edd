"""How far a run trains: what the config counts in epochs or in updates."""

from collections.abc import Iterable

from ser_jax.workdir.checkpoint import RunRecord

# Of each pair one counts, the other is 0. An update is a step of one run; an epoch is
# as many as its training part has batches, so that folds differ in it.
IN_EPOCHS = {
    "updates": "epochs",
    "warmup_updates": "warmup_epochs",
    "decay_updates": "decay_epochs",
    "early_stop_updates": "early_stop_epochs",
    "checkpoint_updates": "checkpoint_epochs",
}


def in_updates(train, key: str, steps_per_epoch):
    """`train.<key>`, or in its place the epochs that count, as updates of a run."""
    return train[key] or train[IN_EPOCHS[key]] * steps_per_epoch


def has_ended(train, record: RunRecord) -> bool:
    """Whether a run has trained its length, or stopped early."""
    length = in_updates(train, "updates", record.steps_per_epoch)
    return not record.active or record.updates >= length


def next_validation(train, record: RunRecord) -> int:
    """The update up to which a run trains before it is validated again."""
    interval = train.validate_updates or record.steps_per_epoch
    length = in_updates(train, "updates", record.steps_per_epoch)
    return min(record.updates + interval, length)


def checkpoint_is_due(train, before: Iterable[int], records: Iterable) -> bool:
    """Whether some run has passed a checkpoint since its number of updates `before`."""
    for updates, record in zip(before, records, strict=True):
        every = in_updates(train, "checkpoint_updates", record.steps_per_epoch)
        if record.updates // every > updates // every:
            return True
    return False
