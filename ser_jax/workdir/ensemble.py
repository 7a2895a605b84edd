"""What tells the folder of an ensemble from a trained workdir.

It has a workdir's tables and results.json, neither checkpoint nor config: config.json
holds `members` instead, a `name`, `path` and `config` each.
"""

from etils import epath

from ser_jax.errors import InputError
from ser_jax.workdir import files

MEMBERS = "members"


def members(folder: epath.Path) -> list[dict]:
    """The members of an ensemble as config.json has them; none of other folders."""
    path = folder / files.CONFIG
    return files.read_json(path).get(MEMBERS, []) if path.exists() else []


def refuse(folder: epath.Path) -> None:
    """Raises InputError if the folder is that of an ensemble, which is no model."""
    if found := members(folder):
        names = ", ".join(one["name"] for one in found)
        raise InputError(
            f"Expected a trained workdir; {folder} is an ensemble, the averaged "
            f"posteriors that {names} gave in their tests, and no model. Name one of "
            "these, or another --workdir."
        )
