"""Refuses a sweep of which a point cannot be trained, before anything is built."""

from ser_jax.errors import InputError
from ser_jax.training import sweep
from ser_jax.training.config_check import check_config


def check(config, stored_in: str = "") -> None:
    """As `check_config`, and of a sweep every point as if it were trained alone.

    Of points that share a program one network is built.

    Raises:
      InputError: As `check_config` and `sweep.points`; it names the point.
    """
    check_config(config, stored_in)
    if config.sweep is None:
        return
    train = config.train
    if train.halving == 1 or not 0 < train.first_rung < 1:
        raise InputError(
            "sweep: expected train.halving of 0 (off) or 2 or more and train.first_rung "
            f"above 0 and below 1; got {train.halving} and {train.first_rung}. Set "
            "--config.train.halving=2."
        )
    for group in sweep.groups(sweep.points(config)):
        for point in group.points:
            try:
                check_config(point.config, with_model=point is group.points[0])
            except InputError as error:
                raise InputError(
                    f"sweep, {sweep.told(point.values)}: {error}"
                ) from error
