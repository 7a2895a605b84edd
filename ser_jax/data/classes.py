"""Which utterances a protocol uses, and the class of each of them. NumPy only."""

import collections
from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from ser_jax.corpora import taxonomy
from ser_jax.corpora.several import IEMOCAP_CORPORA, corpus_of
from ser_jax.corpora.utterance import Exclusion, Utterance
from ser_jax.errors import InputError

IEMOCAP_CLASSES = ("neutral", "happy", "sad", "angry")
SUBSETS = ("improvised", "scripted", "all")
HAPPY_POLICIES = ("hap", "exc", "hap+exc")


def assign_classes(
    utterances: Sequence[Utterance], data, protocol
) -> tuple[tuple[str, ...], np.ndarray, list[Exclusion]]:
    """Chooses the utterances a protocol uses and gives each its class.

    IEMOCAP and the demo have the classes neutral, happy, sad, angry in this order;
    `protocol.happy` says whether `happy` holds the raw label hap, exc or both, and
    `protocol.subset` which speaking style is used. Elsewhere the classes are those of
    `data.taxonomy` and the values of `data.label_map`, which wins over it, or without
    either all raw labels, sorted by name. Of several corpora, each has the labels of
    its own; `data.label_maps` gives the maps of single ones.

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
            labels[position] = classes.index(class_of[_corpus(u, data)][u.emotion])
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
            f"follow protocol.happy; got {read_label_map(data.label_map)}. Use it with "
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
    return IEMOCAP_CLASSES, {"": class_of}, excluded


def _plain_rule(utterances, data, protocol):
    if protocol.subset != "all":
        raise InputError(
            "protocol.subset: expected 'all' but for IEMOCAP, which says who "
            f"improvises; got {protocol.subset!r}. Set protocol.subset='all'."
        )
    present: dict[str, set[str]] = collections.defaultdict(set)
    for u in utterances:
        present[_corpus(u, data)].add(u.emotion)
    class_of = {
        corpus: _class_of_labels(corpus, sorted(labels), data, protocol)
        for corpus, labels in present.items()
    }
    excluded = {
        u.id: Exclusion(u.id, "unmapped label", u.emotion)
        for u in utterances
        if u.emotion not in class_of[_corpus(u, data)]
    }
    classes = {name for mapped in class_of.values() for name in mapped.values()}
    return tuple(sorted(classes)), class_of, excluded


def _corpus(utterance: Utterance, data) -> str:
    """Whose labels it has: '' where all utterances share them."""
    return corpus_of(utterance) if data.corpus == "multi" else ""


def _class_of_labels(corpus: str, present: Sequence[str], data, protocol):
    """The class of each label of a corpus that has one."""
    key, own = "data.label_map", None
    if data.corpus == "multi":
        key, own = f"data.label_maps, {corpus}", read_label_maps(data).get(corpus)
    elif data.label_map is not None:
        own = read_label_map(data.label_map, may_drop=bool(data.taxonomy))
    if own is None and not data.taxonomy:
        return dict(zip(present, present, strict=True))
    own = own or {}
    if absent := sorted({*own} - {*present}):
        raise InputError(
            f"{key}: expected labels of the corpus ({', '.join(present)}); "
            f"got {', '.join(absent)}. Correct the spelling or leave it out."
        )
    class_of = {}
    if data.taxonomy:
        class_of = taxonomy.class_of_labels(present, data.taxonomy)
    if corpus in IEMOCAP_CORPORA:
        for label in {"hap", "exc"}.difference(protocol.happy.split("+")):
            class_of.pop(label, None)
    class_of |= own
    return {label: name for label, name in class_of.items() if name}


def classes_called(names: Iterable[str], classes: Sequence[str]) -> tuple[str, ...]:
    """The classes that `segment.dense_classes` means, whatever a corpus calls them.

    A name that is no class stands for those of its emotion: `happy` for `happiness`; an
    emotion that no class has is left out.

    Raises:
      InputError: A name is neither a class nor an emotion.
    """
    alike = taxonomy.classes_named_alike(names, classes)
    called = {
        name: (name,) if name in classes else alike.get(name, ()) for name in names
    }
    if unknown := [
        name
        for name, found in called.items()
        if not (found or taxonomy.is_emotion(name))
    ]:
        raise InputError(
            f"segment.dense_classes: expected some of {', '.join(classes)}, or other "
            f"names of these emotions; got {', '.join(unknown)}. Name the classes of "
            "which training takes more windows, or () for none."
        )
    return tuple(name for found in called.values() for name in found)


def count_labels(
    utterances: Sequence[Utterance], classes: Sequence[str], labels: np.ndarray
) -> list[dict]:
    """Each corpus's labels, how often they occur, and as which class they are used.

    `corpus, label, count, used_as`, the last empty where the label is left out. Where one
    label is used for some utterances only, the subset decides, both are listed.
    """
    counts = collections.Counter(
        (corpus_of(u), u.emotion, classes[k] if k >= 0 else "")
        for u, k in zip(utterances, labels, strict=True)
    )
    keys = ("corpus", "label", "used_as", "count")
    return [
        dict(zip(keys, (*row, n), strict=True)) for row, n in sorted(counts.items())
    ]


def read_label_map(
    given, key: str = "data.label_map", *, may_drop: bool = False
) -> dict[str, str]:
    """A label map as a dictionary.

    Args:
      given: The value of a config.
      key: Its name, for messages.
      may_drop: Whether '' may be a class, of labels to leave out.

    Raises:
      InputError: It is no map.
    """
    message = (
        f"{key}: expected None, a mapping of labels to classes such as "
        "{'happiness': 'happy'}, or pairs (('happiness', 'happy'),); got "
    )
    try:
        pairs = list(given.items() if hasattr(given, "items") else given)
        class_of = {str(raw): name for raw, name in pairs}
    except (TypeError, ValueError) as error:
        raise InputError(f"{message}{given!r}.") from error
    if isinstance(given, str) or len(class_of) < len(pairs):
        raise InputError(f"{message}{given!r}, which names a label twice or none.")
    for raw, name in class_of.items():
        dropped = may_drop and name == ""
        if not (isinstance(name, str) and name.strip()) and not dropped:
            raise InputError(
                f"{message}{name!r} for {raw!r}. Leave out labels that have no class."
            )
    return class_of


def read_label_maps(data) -> dict[str, dict[str, str]]:
    """`data.label_maps` as corpus -> map; InputError if it is none."""
    given = data.label_maps
    try:
        pairs = dict((given.items() if hasattr(given, "items") else given) or ())
    except (AttributeError, TypeError, ValueError) as error:
        raise InputError(
            "data.label_maps: expected None or a map for each corpus, such as "
            f"{{'ravdess': {{'calm': 'neutral'}}}}; got {given!r}."
        ) from error
    return {
        name: read_label_map(value, f"data.label_maps, {name}", may_drop=True)
        for name, value in pairs.items()
    }


def _nothing_left(utterances, data, protocol, class_of: Mapping) -> str:
    wanted = dict.fromkeys(label for labels in class_of.values() for label in labels)
    where = "the corpus, data.label_map and data.taxonomy"
    if data.corpus in IEMOCAP_CORPORA:
        where = f"protocol.subset ({protocol.subset}) and data.root"
    return (
        f"Expected utterances with labels {', '.join(wanted) or 'none'}; got none. Of "
        f"{len(utterances)} utterances the labels are "
        f"{_counts(u.emotion for u in utterances)}; the styles "
        f"{_counts(u.style or 'no style' for u in utterances)}. Check {where}."
    )


def _counts(names: Iterable[str]) -> str:
    counts = sorted(collections.Counter(names).items())
    return ", ".join(f"{name} {count}" for name, count in counts) or "-"
