"""Which utterances a protocol uses, and which class each of them has. NumPy only."""

import collections
import dataclasses
from collections.abc import Iterable, Sequence

import numpy as np

from ser_jax.corpora.utterance import Exclusion, Utterance
from ser_jax.errors import InputError

CHOICES = {
    "subset": ("improvised", "scripted", "all"),
    "happy": ("hap", "exc", "hap+exc"),
    "split": (
        *("session5", "session5_script", "speaker10"),
        *("random_811", "random_80_20", "group"),
    ),
    "selection": ("val", "last", "test"),
    "validation": ("speaker", "group", "random"),
}
CORPORA = ("iemocap", "demo", "manifest")
IEMOCAP_CLASSES = ("neutral", "happy", "sad", "angry")


@dataclasses.dataclass(frozen=True)
class Labelled:
    """The classes of a protocol, and the class of every utterance.

    Attributes:
      classes: Names of the K classes, in label order.
      labels: int32 [U], class of utterance u in [0, K), or -1 where it is not used.
      excluded: Every utterance that is not used, with the reason.
    """

    classes: tuple[str, ...]
    labels: np.ndarray
    excluded: list[Exclusion]


def check_protocol(protocol) -> None:
    """Checks the named choices of `config.protocol`; cheap, call it before building.

    Raises:
      InputError: A choice is unknown; lists the valid ones.
    """
    for key, valid in CHOICES.items():
        value = getattr(protocol, key)
        if value not in valid:
            raise InputError(
                f"protocol.{key}: expected one of {', '.join(valid)}; got {value!r}."
            )


def assign_classes(utterances: Sequence[Utterance], data, protocol) -> Labelled:
    """Chooses the utterances a protocol uses and gives each its class.

    IEMOCAP and the demo have the classes neutral, happy, sad, angry in this order;
    `protocol.happy` says whether `happy` holds the raw label hap, exc or both, and
    `protocol.subset` which speaking style is used. In a manifest the classes are the
    values of `data.label_map`, or without a map all raw labels, sorted by name.

    Args:
      utterances: U utterances, any order.
      data: `config.data`; `corpus` and `label_map` are read.
      protocol: `config.protocol`; `subset` and `happy` are read.

    Raises:
      InputError: An unknown choice, a choice that does not fit the corpus, a label map
        that names an absent label, or no utterance is left.
    """
    check_protocol(protocol)
    if data.corpus not in CORPORA:
        raise InputError(
            f"data.corpus: expected one of {', '.join(CORPORA)}; got {data.corpus!r}."
        )
    if data.corpus == "manifest":
        classes, class_of, excluded = _manifest_rule(utterances, data, protocol)
    else:
        classes, class_of, excluded = _iemocap_rule(utterances, data, protocol)
    labels = np.full(len(utterances), -1, np.int32)
    for position, utterance in enumerate(utterances):
        if utterance.id not in excluded:
            labels[position] = classes.index(class_of[utterance.emotion])
    if not (labels >= 0).any():
        raise InputError(_nothing_left(utterances, data, protocol, class_of))
    unheard = sorted(set(range(len(classes))) - set(labels.tolist()))
    if unheard:
        raise InputError(
            f"Expected utterances of every class; got none of "
            f"{', '.join(classes[k] for k in unheard)} (subset {protocol.subset!r}, "
            f"happy {protocol.happy!r}). Choose another subset or happy policy, or "
            "check data.root."
        )
    if len(classes) < 2:
        raise InputError(
            f"Expected two or more classes; got only {classes[0]!r}. Correct the "
            "emotion column or data.label_map."
        )
    return Labelled(classes, labels, list(excluded.values()))


def _iemocap_rule(utterances, data, protocol):
    if data.label_map is not None:
        raise InputError(
            "data.label_map: expected None for IEMOCAP and the demo, whose classes "
            f"follow protocol.happy; got {dict(data.label_map)}. Use it with "
            "data.corpus='manifest'."
        )
    class_of = {"neu": "neutral", "sad": "sad", "ang": "angry"}
    class_of |= dict.fromkeys(protocol.happy.split("+"), "happy")
    excluded = {}
    for utterance in utterances:
        reason = detail = ""
        if protocol.subset not in ("all", utterance.style):
            reason = "outside the subset"
            detail = f"expected style {protocol.subset}, got {utterance.style!r}"
        elif utterance.emotion not in class_of:
            reason = f"label {utterance.emotion}"
            detail = f"expected one of {', '.join(class_of)}, got {utterance.emotion}"
        if reason:
            excluded[utterance.id] = Exclusion(utterance.id, reason, detail)
    return IEMOCAP_CLASSES, class_of, excluded


def _manifest_rule(utterances, data, protocol):
    if protocol.subset != "all":
        raise InputError(
            "protocol.subset: expected 'all' for a manifest, which does not say who "
            f"improvises; got {protocol.subset!r}. Set protocol.subset='all'."
        )
    present = sorted({utterance.emotion for utterance in utterances})
    if data.label_map is None:
        return tuple(present), {label: label for label in present}, {}
    try:
        named = dict(data.label_map)
    except (TypeError, ValueError) as error:
        raise InputError(
            "data.label_map: expected None, a mapping such as {'happiness': 'happy'}, "
            f"or pairs (('happiness', 'happy'),); got {data.label_map!r}."
        ) from error
    class_of = {str(raw): str(name) for raw, name in named.items()}
    absent = sorted(set(class_of) - set(present))
    if absent:
        raise InputError(
            f"data.label_map: expected labels of the corpus ({', '.join(present)}); "
            f"got {', '.join(absent)}. Correct the spelling or leave it out."
        )
    excluded = {
        utterance.id: Exclusion(utterance.id, "unmapped label", utterance.emotion)
        for utterance in utterances
        if utterance.emotion not in class_of
    }
    return tuple(sorted(set(class_of.values()))), class_of, excluded


def _nothing_left(utterances, data, protocol, class_of: Iterable[str]) -> str:
    present = collections.Counter(u.emotion for u in utterances)
    styles = collections.Counter(u.style or "no style" for u in utterances)
    asked = f"labels {', '.join(class_of) or 'none'}"
    remedy = "Check the manifest and data.label_map."
    if data.corpus != "manifest":
        asked += f" in the subset {protocol.subset!r}"
        remedy = "Choose another protocol.subset or check data.root."
    return (
        f"Expected utterances with {asked}; got none. Of {len(utterances)} utterances "
        f"the labels are {_counts(present)}; the styles {_counts(styles)}. {remedy}"
    )


def _counts(counter: collections.Counter) -> str:
    return ", ".join(f"{key} {count}" for key, count in sorted(counter.items())) or "-"
