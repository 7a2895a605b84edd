"""What differs between trainings that stand side by side."""

from collections.abc import Mapping, Sequence

from ser_jax.report.document import plain
from ser_jax.workdir.contents import WorkdirContents

# Where and how fast, which changes no score.
APART = ("data.cache_dir", "data.num_workers", "data.device_share", "data.tfds_dir")


def scores(many: Sequence[WorkdirContents], paired: bool) -> list[str]:
    """What keeps the scores from standing beside each other, a line each."""
    said = []
    about = {
        "corpus": lambda r: r["corpus"],
        "classes": lambda r: ", ".join(r["classes"]),
        "split": lambda r: r["protocol"]["split"],
        "subset": lambda r: r["protocol"].get("subset", "not used"),
        "happy": lambda r: r["protocol"].get("happy", "not used"),
        "selection": lambda r: r["selection"],
    }
    for name, value in about.items():
        values = list(dict.fromkeys(str(value(found.results)) for found in many))
        if len(values) > 1:
            said.append(plain(f"{name}: {' / '.join(values)}"))
    if said:
        said.insert(0, "The scores are not comparable where these differ:")
    said.append(
        "Every training tested the same utterances in the same folds and seeds."
        if paired
        else "The trainings did not test the same utterances in the same folds."
    )
    return said


def config_keys(many: Sequence[WorkdirContents]) -> tuple[list[str], list[tuple]]:
    """All keys that every config has, and (key, values) of those that differ."""
    flat = [dict(_flatten(found.config)) for found in many if found.config]
    keys = sorted(set.intersection(*map(set, flat))) if len(flat) == len(many) else []
    keys = [k for k in keys if not k.startswith("published.") and k not in APART]
    found = [
        (key, *(str(config[key]) for config in flat))
        for key in keys
        if len({str(config[key]) for config in flat}) > 1
    ]
    return keys, found


def _flatten(tree: Mapping, prefix: str = ""):
    for key, value in tree.items():
        if isinstance(value, Mapping):
            yield from _flatten(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def same_tests(many: Sequence[WorkdirContents]) -> bool:
    """Whether all tested the same utterances, labels, folds and seeds."""
    tests = [
        {(p.fold, p.seed, p.utterance, p.label) for p in found.predictions}
        for found in many
    ]
    return all(test == tests[0] for test in tests)
