"""Whose posteriors an ensemble averages, and by which weights: section and lines."""

import textwrap
from collections.abc import Mapping

from ser_jax.report.document import TEXTS, Section, Table, code, span
from ser_jax.report.score_table import percent, spread

_TEXTS = TEXTS["ensemble"]


def sections(results: Mapping) -> list[Section]:
    """The members and their weights; nothing of a training."""
    if not (about := results.get("ensemble")):
        return []
    words = ("workdir", "config", "epoch", "git commit", "seeds")
    rows = [(*words, "UA %", "seeds averaged, UA %", "weight")]
    for one in about["members"]:
        commit = (one["git_commit"] or "unknown")[:12]
        seeds = ", ".join(map(str, one["seeds"]))
        names = code(one["name"]), code(one["config"] or one["model"])
        scores = spread(one, "ua"), percent(one["averaged_ua"])
        rows.append((*names, one["selection"], commit, seeds, *scores, _weight(one)))
    blocks = [
        f"{_TEXTS['what']} {_TEXTS[about['weights']]} {_TEXTS[about['seeds']]}",
        Table(rows, "Members; scores are percent, weights those of all folds", 5),
    ]
    if about["weights"] != "equal":
        weights = [one["weights"] for one in about["members"]]
        header = ("fold", *(code(one["name"]) for one in about["members"]))
        table = [(x, *(f"{one[x]:.3f}" for one in weights)) for x in weights[0]]
        blocks.append(Table([header, *table], "Weight of each member by fold"))
    return [Section("ensemble", "Members", blocks)]


def lines(results: Mapping) -> list[str]:
    """The weights for a terminal; none of a training."""
    if not (about := results.get("ensemble")):
        return []
    members = [f"{one['name']} {_weight(one)}" for one in about["members"]]
    text = f"weights ({about['weights']}): {', '.join(members)}"
    if about["seeds"] != "one by one":
        text += f"; members have other seeds, {about['seeds']}"
    return textwrap.wrap(text, 80, subsequent_indent="  ")


def _weight(member: Mapping) -> str:
    return span(member["weights"].values(), ".3f")
