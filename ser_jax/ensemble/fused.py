"""Weights that validation chooses, and the lines that members write together."""

import collections
import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np

from ser_jax.ensemble import members as member_files
from ser_jax.ensemble.members import Member, Table
from ser_jax.errors import InputError
from ser_jax.scoring import fusion
from ser_jax.workdir import files
from ser_jax.workdir.predictions import Prediction

# How validation chooses the weights of members.
RULES = {"validation": fusion.choose_weights, "best": fusion.choose_one}

# What has weights of its own, by (fold, seed).
Parts = Mapping[tuple[str, int], str]


def parts(tested: Table) -> dict[tuple[str, int], str]:
    """The fold; where its seeds test other utterances (random splits), fold and seed.

    So that no run's weights depend on what that run, or another one of them, tests.
    """
    by_seed = collections.defaultdict(lambda: collections.defaultdict(set))
    for fold, seed, utterance in tested:
        by_seed[fold][seed].add(utterance)
    found = {}
    for fold, seeds in by_seed.items():
        same = all(tests == seeds[min(seeds)] for tests in seeds.values())
        found |= {(fold, x): fold if same else f"{fold}, seed {x}" for x in seeds}
    return found


def validated(members: Sequence[Member], of: Parts, tested: Table) -> list[Table]:
    """What all members validated of the runs that they tested.

    Raises:
      InputError: One has no validation.csv, other runs in it, or other utterances than
        the first one, or something that is tested in the same part.
    """
    for one in members:
        _check_validated(one)
    lines = [one.validation for one in members]
    found = member_files.tables(members, lines, "validated")
    tests = {(of[fold, seed], utterance) for fold, seed, utterance in tested}
    for fold, seed, utterance in found[0]:
        if (of[fold, seed], utterance) in tests:
            raise InputError(
                f"Expected nothing in {files.VALIDATION} that is tested; got {utterance}, "
                f"which fold {fold} tests. Repeat `run.py evaluate` of every member."
            )
    return found


def choose_weights(
    tables: Sequence[Table], of: Parts, classes: Sequence[str], rule: str
) -> dict[str, list[float]]:
    """By part, the weights that `RULES[rule]` gives members for what they validated."""
    keys = collections.defaultdict(list)
    for fold, seed, utterance in tables[0]:
        keys[of[fold, seed]].append((fold, seed, utterance))
    found = {}
    for part in dict.fromkeys(of.values()):
        posteriors = [[table[k].posteriors for k in keys[part]] for table in tables]
        labels = [classes.index(tables[0][key].label) for key in keys[part]]
        found[part] = RULES[rule](posteriors, labels).tolist()
    return found


def lines(
    tables: Sequence[Table],
    weights: Mapping[str, Sequence[float]],
    of: Parts,
    classes: Sequence[str],
) -> list[Prediction]:
    """The first table's lines with the mean posteriors of all; [] without tables.

    `weights` has, by part, one for each table, in their order.
    """
    if not tables:
        return []
    keys = list(tables[0])
    mixed = fusion.mean(
        [[table[key].posteriors for key in keys] for table in tables],
        np.transpose([weights[of[fold, seed]] for fold, seed, _ in keys]),
    )
    return [
        dataclasses.replace(
            tables[0][key],
            prediction=classes[int(row.argmax())],
            posteriors=tuple(row.tolist()),
        )
        for key, row in zip(keys, mixed, strict=True)
    ]


def _check_validated(member: Member) -> None:
    """Raises InputError unless each run that it tested has validated."""
    path = member.path / files.VALIDATION
    if not member.validation:
        own = member.training.results
        why = f", as with protocol.selection={own['selection']}. Use"
        if own["selection"] == "val":  # an older one
            why = ". Repeat `run.py evaluate`, which writes it, or use"
        if own.get("ensemble"):
            why = ": its own members did not validate the same. Use"
        raise InputError(f"--weights: expected {path}; got none{why} --weights=equal.")
    tested = member.training.predictions
    runs = [{(x.fold, x.seed) for x in of} for of in (tested, member.validation)]
    if runs[0] != runs[1]:
        fold, seed = min(runs[0] ^ runs[1])
        raise InputError(
            f"--weights: expected the tested runs in {path}; got others, as "
            f"fold {fold}, seed {seed}. Repeat `run.py evaluate`, or use "
            "--weights=equal."
        )
