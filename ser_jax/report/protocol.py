"""What was run, in words: corpus, protocol, counts, exclusions."""

from collections.abc import Mapping

from ser_jax.report import text_overlap
from ser_jax.report.document import Items, Section, code, plain
from ser_jax.report.phrases import SELECTIONS, SPLITS, SUBSETS, VALIDATIONS

LISTED = 3  # exclusions written out per reason; results.json has them all
_PARTS = {"n_train": "train", "n_val": "validate", "n_test": "are tested"}
_VALIDATED = ("session5", "session5_script", "group")  # by protocol.validation


def section(results: Mapping) -> Section:
    """The section of what was run.

    Args:
      results: Content of results.json.
    """
    protocol = results["protocol"]
    classes = ", ".join(map(plain, results["classes"]))
    lines = [
        f"Model: {code(results['model'])}, classes: {classes}",
        f"Corpus: {plain(results['corpus'])}"
        + (" (synthetic)" if results["corpus_is_synthetic"] else ""),
    ]
    subset = protocol.get("subset")
    if subset is not None:
        lines.append(f"Subset: {code(subset)}, {SUBSETS.get(subset, 'see the config')}")
    if protocol.get("happy") is not None:
        lines.append(f"Happy policy: {code(protocol['happy'])} (what `happy` holds)")
    lines.append(f"Split: {split(protocol)}")
    if results["selection"] == "val" and protocol["split"] in _VALIDATED:
        lines.append(f"Validation: {validation(protocol)}")
    lines.append(f"Epoch: {SELECTIONS.get(results['selection'], 'see the config')}")
    lines.append(f"Runs: {runs(results)}")
    lines.append(f"Utterances per run: {_parts(results['runs'])}")
    lines += [f"Promised: {plain(promise)}" for promise in protocol.get("promises", ())]
    if results.get("text"):
        lines += text_overlap.lines(results)
    else:
        lines += _repeated_sentences(protocol)
    return Section("run", "What was run", [Items(lines)])


def utterances(counted: Mapping) -> Section:
    """How many were used, and what was left out, why.

    Args:
      counted: `utterances` of results.json.
    """
    excluded, skipped = counted["excluded"], counted["skipped"]
    reasons = []
    for reason, count in skipped.items():
        named = [item for item in excluded if item["reason"] == reason]
        below = [
            code(item["id"]) + (f": {plain(item['detail'])}" if item["detail"] else "")
            for item in named[:LISTED]
        ]
        if len(named) > LISTED:
            below.append(f"... and {len(named) - LISTED} more in results.json")
        reasons.append((f"{plain(reason)}: {count}", below))
    items = [
        f"Used: {counted['used']}",
        f"Padded to a window: {counted['padded_short']}",
        f"Resampled: {counted['resampled']}",
        (f"Excluded: {sum(skipped.values())}", reasons),
    ]
    return Section("utterances", "Utterances", [Items(items)])


def split(protocol: Mapping) -> str:
    """The split rule in words."""
    name = str(protocol["split"])
    rule = f"{code(name)}: {SPLITS.get(name, 'see the config')}"
    if name == "group":
        number = protocol.get("groups") or "one per value"
        rule += f" (column {code(protocol.get('group_by'))}, folds: {number})"
    return rule


def validation(protocol: Mapping) -> str:
    """Who chooses the epoch, in words."""
    rule = protocol.get("validation")
    share = protocol.get("val_fraction")
    said = f"{code(rule)}, {VALIDATIONS.get(rule, 'see the config')}"
    return said + (f" ({share:.0%})" if rule == "random" and share else "")


def runs(results: Mapping) -> str:
    """`5 (5 folds; seeds 0)`."""
    folds = list(dict.fromkeys(run["fold"] for run in results["runs"]))
    seeds = list(dict.fromkeys(run["seed"] for run in results["runs"]))
    return (
        f"{len(results['runs'])} ({len(folds)} folds; seeds "
        f"{', '.join(map(str, seeds))})"
    )


def _parts(found) -> str:
    """`168 train, 24 validate, 48 are tested`; ranges where runs differ."""
    said = []
    for key, what in _PARTS.items():
        sizes = [run[key] for run in found if run.get(key) is not None]
        if sizes:
            low, high = min(sizes), max(sizes)
            said.append(f"{low} {what}" if low == high else f"{low} to {high} {what}")
    return ", ".join(said)


def _repeated_sentences(protocol):
    share = protocol.get("test_sentences_also_trained", 0)
    if not share:
        return []
    said = f"{share:.0%} of the test utterances have words that also occur in training"
    return [f"Sentences: {said}; a leak for a model that reads, not for one that hears"]
