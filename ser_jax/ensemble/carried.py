"""What an ensemble takes over from its members: of all that is a fault, the worst.

The members' results.json in, parts of the ensemble's out.
"""

import collections
import json
from collections.abc import Iterable, Mapping, Sequence

from ser_jax.workdir import results

_TARGET_USE = ("", "none", "unlabelled", "labelled")  # from the best to the worst
_SOME = " (of some members)"


def about(members: Sequence[Mapping]) -> dict:
    """The keys of results.json that are not scores, but for versions and commit.

    `seconds` are those of all members together, `utterances` lists what any left out.
    """
    models = collections.Counter(one["model"] for one in members)
    names = [f"{n} × {name}" if n > 1 else name for name, n in sorted(models.items())]
    names = [", ".join(names[:-1]), names[-1]] if len(names) > 1 else names
    warnings = [text for one in members for text in one.get("corpus_warnings", ())]
    return {
        "corpus": members[0]["corpus"],
        "corpus_is_synthetic": any(one["corpus_is_synthetic"] for one in members),
        "corpus_warnings": _different(warnings),
        "protocol": protocol([one["protocol"] for one in members]),
        "model": f"Ensemble of {' and '.join(names)}",
        "text": text([one["text"] for one in members if one.get("text")]),
        "utterances": utterances([one["utterances"] for one in members]),
        "seconds": seconds([one["seconds"] for one in members]),
    }


def runs(members: Sequence[Mapping], seed: int | None = None) -> list[dict]:
    """What `scoring.summary.summarise` is told of every run; no epoch is its own.

    `seed` is that of every run if the members' seeds are averaged first.
    """
    same = collections.defaultdict(list)
    for one in members:
        for run in one["runs"]:
            of = run["seed"] if seed is None else seed
            same[run["fold"], of, run.get("tested")].append(run)
    found = []
    for (fold, of, tested), alike in same.items():
        told = {"fold": fold, "seed": of, "best_epoch": None, "epochs": None}
        told |= {"tested": tested} if tested else {}
        for size in ("n_train", "n_val"):
            values = {run.get(size) for run in alike}
            told |= {size: values.pop()} if len(values) == 1 else {}
        found.append(told)
    return found


def protocol(rules: Sequence[Mapping]) -> dict:
    """`protocol`: what members do alike as it is, names that differ joined by +.

    Numbers that differ are left out. Paper mode, leaks, target use and repeated sentences of
    one member are the ensemble's; apart is what all keep apart.
    """
    merged = {}
    for key in _different(key for one in rules for key in one):
        values = _different(one[key] for one in rules if key in one)
        if len(values) == 1 and all(key in one for one in rules):
            merged[key] = values[0]
        elif all(isinstance(value, str) for value in values):
            merged[key] = _joined(values)
    selections = [one["selection"] for one in rules]
    merged["selection"] = "test" if "test" in selections else _joined(selections)
    merged["promises"] = _promises([one.get("promises", ()) for one in rules])
    kept = [results.kept_apart(one) for one in rules]
    merged["kept_apart"] = sorted(set.intersection(*kept))
    leaks = (leak for one in rules for leak in one.get("leaks") or ())
    merged["leaks"] = sorted(_different(leaks))
    uses = [one.get("target_use", "") for one in rules]
    merged["target_use"] = max(uses, key=_TARGET_USE.index)
    repeated = (one.get("test_sentences_also_trained") or 0.0 for one in rules)
    merged["test_sentences_also_trained"] = max(repeated)
    return merged


def text(read: Sequence[Mapping]) -> dict:
    """`text`, of the members that read words: of the one whose tests repeat most."""
    if not read:
        return {}
    key = "sentences_also_in_training"
    shares = [one[key] for one in read if one.get(key)]
    worst = max(read, key=lambda one: (one.get(key) or {"mean": 0.0})["mean"])
    merged = dict(worst)
    if shares:
        names = sorted(set.intersection(*map(set, shares)))  # `mean`, `max`
        merged[key] = {x: max(share[x] for share in shares) for x in names}
    scripts = "scripts_also_in_training"
    merged[scripts] = any(one.get(scripts) for one in read)
    return merged


def utterances(counts: Sequence[Mapping]) -> dict:
    """`utterances`: what all say alike, and of what each counts by itself the most."""
    alike = {
        key: value
        for key, value in counts[0].items()
        if all(one.get(key) == value for one in counts)
    }
    excluded = [item for one in counts for item in one["excluded"]]
    excluded = _different(excluded)
    skipped = collections.Counter(item["reason"] for item in excluded)
    near = "near_duplicates_in_two_parts"
    return alike | {
        "used": max(one["used"] for one in counts),
        "skipped": dict(skipped.most_common()),
        "excluded": excluded,
        "padded_short": max(one["padded_short"] for one in counts),
        "resampled": max(one["resampled"] for one in counts),
        near: _different(ids for one in counts for ids in one.get(near, ())),
    }


def seconds(parts: Sequence[Mapping]) -> dict:
    """`seconds`: the sum over members of each part."""
    total = collections.defaultdict(float)
    for one in parts:
        for part, spent in one.items():
            total[part] += spent or 0.0
    return {part: round(spent, 2) for part, spent in total.items()}


def _promises(made: Sequence[Sequence[str]]) -> list[str]:
    """All that is promised, and whether every member does."""
    return [
        text if all(text in one for one in made) else text + _SOME
        for text in _different(text for one in made for text in one)
    ]


def _joined(names: Iterable[str]) -> str:
    return "+".join(sorted({part for name in names for part in name.split("+")}))


def _different(values: Iterable) -> list:
    """Each once, in order; JSON has values without a hash."""
    return [*{json.dumps(value, sort_keys=True): value for value in values}.values()]
