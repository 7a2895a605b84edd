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
    if "sweep" not in config:
        raise InputError(
            "--config: expected every key of configs/base.py; got no sweep. Begin with "
            "the get_config() of configs/base.py."
        )
    if config.sweep is None:
        return
    for group in sweep.groups(sweep.points(config)):
        for point in group.points:
            try:
                check_config(point.config, with_model=point is group.points[0])
            except InputError as error:
                raise InputError(
                    f"sweep, {sweep.told(point.values)}: {error}"
                ) from error
