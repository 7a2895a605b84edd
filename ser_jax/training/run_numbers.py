"""Numbers of a config that differ from run to run: arguments of the compiled step.

A step reads a group of the config as ever. In a sweep some of its numbers are those of
the run's point, which a compiled step takes as arguments: all points share one program.
"""

from collections.abc import Mapping

import jax


class RunGroup:
    """A config group in which some numbers are one run's own, traced."""

    def __init__(self, group, numbers: Mapping):
        """`numbers` stand in place of what `group` has by these names."""
        self._group, self._numbers = group, numbers

    def __getitem__(self, name: str):
        return self._numbers[name] if name in self._numbers else self._group[name]

    def __getattr__(self, name: str):
        return self[name]


def of_group(config, name: str, numbers: Mapping | None):
    """`config.<name>` with the run's `numbers`, by dotted key; itself without any."""
    own = _under(name, numbers)
    return RunGroup(config[name], own) if own else config[name]


def of_model(numbers: Mapping | None) -> dict:
    """By key of `config.model`, the share that a run's own dropout keeps."""
    return _under("model", numbers)


def _under(name: str, numbers: Mapping | None) -> dict:
    prefix = f"{name}."
    return {
        key.removeprefix(prefix): number
        for key, number in (numbers or {}).items()
        if key.startswith(prefix)
    }


def is_on(number) -> bool:
    """Whether a number whose 0 means off is not 0.

    A traced one is a sweep's, of which either all values are 0 or none is.
    """
    return isinstance(number, jax.Array) or bool(number)
