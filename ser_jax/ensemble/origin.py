"""Where an ensemble's answers come from: config.json, splits.json, names of members."""

import collections
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path

from etils import epath

from ser_jax.ensemble import members as member_files
from ser_jax.ensemble.members import Member
from ser_jax.workdir import ensemble as ensemble_files
from ser_jax.workdir import files, provenance

PACKAGES = ("numpy", "scipy")


def describe(member: Member, weights: Mapping[str, float]) -> dict:
    """A member as results.json names it."""
    own = member.training.results
    seeds = set().union(*member.seeds.values())
    return {
        "name": member.name,
        "path": str(member.path),
        "config": _config_name(member.training.command),
        "model": own["model"],
        "git_commit": own["git_commit"],
        "selection": own["selection"],
        "seeds": sorted(seeds),
        "ua": own["ua"],
        "averaged_ua": own.get("averaged", {}).get("ua"),
        "weights": weights,
    }


def write(folder: epath.Path, members: Sequence[Member], weights: str) -> None:
    """config.json and, if all members have it, splits.json."""
    content = {
        ensemble_files.MEMBERS: [
            {"name": x.name, "path": str(x.path), "config": x.training.config}
            for x in members
        ],
        "weights": weights,
        "command": provenance.command(),
        "versions": provenance.package_versions(PACKAGES),
        "git_commit": provenance.git_commit(),
    }
    files.write_json(folder / files.CONFIG, content)
    if splits := _splits(members):
        files.write_json(folder / files.SPLITS, splits)
    else:
        (folder / files.SPLITS).unlink(missing_ok=True)


def _splits(members: Sequence[Member]) -> dict:
    """splits.json: whatever any member trained or validated on; {} if one has none.

    `sounds` only where all heard the same recordings.
    """
    if not all(one.splits for one in members):
        return {}
    labels = {}
    parts = collections.defaultdict(lambda: collections.defaultdict(set))
    for one in members:
        labels = one.splits["labels"] | labels
        for fold in one.splits["folds"]:
            seed = fold["seed"]
            if not member_files.have_same_seeds(members):
                seed = member_files.SEED
            for part in ("train", "val", "test"):
                parts[fold["name"], seed][part] |= {*fold[part]}
    sounds = {one.splits.get("sounds") for one in members}
    return {
        "classes": members[0].training.classes,
        **({"sounds": sounds.pop()} if len(sounds) == 1 else {}),
        "labels": labels,
        "folds": [
            {
                "name": name,
                "seed": seed,
                "train": sorted(of["train"]),
                "val": sorted(of["val"] - of["train"]),
                "test": sorted(of["test"]),
            }
            for (name, seed), of in parts.items()
        ],
    }


def _config_name(command: str) -> str:
    """`area_attn:emodb` of `--config=configs/area_attn.py:emodb`; "" if not given."""
    try:
        words = shlex.split(command.replace("--config ", "--config="))
    except ValueError:
        return ""
    given = [x.removeprefix("--config=") for x in words if x.startswith("--config=")]
    path, _, preset = (given or [""])[-1].partition(":")
    return ":".join(filter(None, [Path(path).stem, preset]))
