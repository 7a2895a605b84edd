"""Which utterances a protocol uses, and the class of each of them. NumPy only."""

import collections
from collections.abc import Iterable, Sequence

import numpy as np

from ser_jax.corpora.utterance import Exclusion, Utterance
from ser_jax.errors import InputError

IEMOCAP_CORPORA = ("iemocap", "demo")  # of `data.corpus`, with IEMOCAP's labels
IEMOCAP_CLASSES = ("neutral", "happy", "sad", "angry")
SUBSETS = ("improvised", "scripted", "all")
HAPPY_POLICIES = ("hap", "exc", "hap+exc")


def assign_classes(
    utterances: Sequence[Utterance], data, protocol
) -> tuple[tuple[str, ...], np.ndarray, list[Exclusion]]:
    """Chooses the utterances a protocol uses and gives each its class.

    IEMOCAP and the demo have the classes neutral, happy, sad, angry in this order;
    `protocol.happy` says whether `happy` holds the raw label hap, exc or both, and
    `protocol.subset` which speaking style is used. Elsewhere the classes are the
    values of `data.label_map`, or without a map all raw labels, sorted by name.

    Returns:
      (Names of the K classes; int32 [U] in [0, K), or -1 for utterances that are not
      used; those utterances with the reason.)

    Raises:
      InputError: A choice does not fit the corpus, a label map names an absent label,
        or a class has no utterance.
    """
    rule = _iemocap_rule if data.corpus in IEMOCAP_CORPORA else _plain_rule
    classes, class_of, excluded = rule(utterances, data, protocol)
    labels = np.full(len(utterances), -1, np.int32)
    for position, u in enumerate(utterances):
        if u.id not in excluded:
            labels[position] = classes.index(class_of[u.emotion])
    if not (labels >= 0).any():
        raise InputError(_nothing_left(utterances, data, protocol, class_of))
    absent = [name for k, name in enumerate(classes) if k not in labels]
    if absent:
        raise InputError(
            f"Expected utterances of every class; got none of {', '.join(absent)} "
            f"(subset {protocol.subset!r}, happy {protocol.happy!r}). Choose another "
            "subset or happy policy, or check data.root."
        )
    if len(classes) < 2:
        raise InputError(
            f"Expected two or more classes; got only {classes[0]!r}. Correct the "
            "emotion column or data.label_map."
        )
    return classes, labels, list(excluded.values())


def _iemocap_rule(utterances, data, protocol):
    if data.label_map is not None:
        raise InputError(
            "data.label_map: expected None for IEMOCAP and the demo, whose classes "
            f"follow protocol.happy; got {read_label_map(data)}. Use it with "
            "other corpora."
        )
    class_of = {"neu": "neutral", "sad": "sad", "ang": "angry"}
    class_of |= dict.fromkeys(protocol.happy.split("+"), "happy")
    excluded = {}
    for u in utterances:
        if protocol.subset not in ("all", u.style):
            detail = f"expected style {protocol.subset}, got {u.style!r}"
            excluded[u.id] = Exclusion(u.id, "outside the subset", detail)
        elif u.emotion not in class_of:
            detail = f"expected one of {', '.join(class_of)}, got {u.emotion}"
            excluded[u.id] = Exclusion(u.id, f"label {u.emotion}", detail)
    return IEMOCAP_CLASSES, class_of, excluded


def _plain_rule(utterances, data, protocol):
    if protocol.subset != "all":
        raise InputError(
            "protocol.subset: expected 'all' but for IEMOCAP, which says who "
            f"improvises; got {protocol.subset!r}. Set protocol.subset='all'."
        )
    present = sorted({u.emotion for u in utterances})
    if data.label_map is None:
        return tuple(present), dict(zip(present, present, strict=True)), {}
    class_of = read_label_map(data)
    absent = sorted(set(class_of) - set(present))
    if absent:
        raise InputError(
            f"data.label_map: expected labels of the corpus ({', '.join(present)}); "
            f"got {', '.join(absent)}. Correct the spelling or leave it out."
        )
    excluded = {
        u.id: Exclusion(u.id, "unmapped label", u.emotion)
        for u in utterances
        if u.emotion not in class_of
    }
    return tuple(sorted(set(class_of.values()))), class_of, excluded


def read_label_map(data) -> dict[str, str]:
    """`data.label_map` as a dictionary; InputError if it is none."""
    message = (
        "data.label_map: expected None, a mapping of labels to classes such as "
        "{'happiness': 'happy'}, or pairs (('happiness', 'happy'),); got "
    )
    given = data.label_map
    try:
        pairs = list(given.items() if hasattr(given, "items") else given)
        class_of = {str(raw): name for raw, name in pairs}
    except (TypeError, ValueError) as error:
        raise InputError(f"{message}{given!r}.") from error
    if isinstance(given, str) or len(class_of) < len(pairs):
        raise InputError(f"{message}{given!r}, which names a label twice or none.")
    for raw, name in class_of.items():
        if not isinstance(name, str) or not name.strip():
            raise InputError(
                f"{message}{name!r} for {raw!r}. Leave out labels that have no class."
            )
    return class_of


def _nothing_left(utterances, data, protocol, class_of: Iterable[str]) -> str:
    where = "the corpus and data.label_map"
    if data.corpus in IEMOCAP_CORPORA:
        where = f"protocol.subset ({protocol.subset}) and data.root"
    return (
        f"Expected utterances with labels {', '.join(class_of) or 'none'}; got none. Of "
        f"{len(utterances)} utterances the labels are "
        f"{_counts(u.emotion for u in utterances)}; the styles "
        f"{_counts(u.style or 'no style' for u in utterances)}. Check {where}."
    )


def _counts(names: Iterable[str]) -> str:
    counts = sorted(collections.Counter(names).items())
    return ", ".join(f"{name} {count}" for name, count in counts) or "-"
