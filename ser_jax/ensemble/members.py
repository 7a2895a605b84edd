"""The workdirs of an ensemble: read, and held against each other."""

import collections
import dataclasses
from collections.abc import Mapping, Sequence

from etils import epath

from ser_jax.errors import InputError
from ser_jax.scoring import fusion, summary
from ser_jax.workdir import contents, files, predictions
from ser_jax.workdir.contents import WorkdirContents
from ser_jax.workdir.predictions import Prediction

SEED = 0  # of what all seeds of a member answer together
_REMEDY = "Train both with the same data, labels and protocol."

# Answers by (fold, seed, utterance).
Table = dict[tuple[str, int, str], Prediction]


@dataclasses.dataclass(frozen=True)
class Member:
    """A workdir; its posteriors are in an order of classes that all members share."""

    path: epath.Path
    name: str
    training: WorkdirContents
    validation: Sequence[Prediction]  # empty without validation.csv
    splits: Mapping  # splits.json; empty without it

    @property
    def seeds(self) -> dict[str, set[int]]:
        """By fold."""
        found = collections.defaultdict(set)
        for line in self.training.predictions:
            found[line.fold].add(line.seed)
        return dict(found)


def read(workdirs: Sequence) -> list[Member]:
    """Reads workdirs of one corpus with the same classes, in their order.

    Raises:
      InputError: There are fewer than two, one is named twice, lacks a file or has
        files that do not match, or corpora, recordings or classes differ.
    """
    named = files.resolve_all(workdirs)
    if len(named) < 2:
        raise InputError(
            "Expected two workdirs or more, as in `run.py ensemble W1 W2 "
            f"--out=FOLDER`; got {', '.join(named.values()) or 'none'}."
        )
    members = [_read(path, name) for path, name in named.items()]
    for other in members[1:]:
        _check_same_corpus(members[0], other)
    # Whoever is named first, ties fall alike.
    classes = min(tuple(one.training.classes) for one in members)
    return [_in_order(one, classes) for one in members]


def have_same_seeds(members: Sequence[Member]) -> bool:
    """Whether all trained each fold with the same seeds."""
    return all(one.seeds == members[0].seeds for one in members)


def tables(
    members: Sequence[Member], lines: Sequence[Sequence[Prediction]], what: str
) -> list[Table]:
    """`lines` of each member by fold, seed and utterance.

    If seeds differ, those of a member are averaged first, to `SEED`. All tables have the
    same keys, in the first one's order.

    Args:
      members: Whose lines they are.
      lines: Of each member, predictions.csv or validation.csv.
      what: Was done with them, for messages: `tested`, `validated`.

    Raises:
      InputError: Members did it to other utterances, with other labels or speakers.
    """
    if not have_same_seeds(members):
        pairs = zip(members, lines, strict=True)
        lines = [_average_seeds(one, own, what) for one, own in pairs]
    found = [{(x.fold, x.seed, x.utterance): x for x in own} for own in lines]
    for member, table in zip(members, found, strict=True):
        if problem := _difference(found[0], table):
            raise InputError(
                f"Expected workdirs that {what} the same; got {members[0].name} and "
                f"{member.name} with {problem}. {_REMEDY}"
            )
    return [{key: table[key] for key in found[0]} for table in found]


def _read(path: epath.Path, name: str) -> Member:
    training = contents.read(path, beside=False)
    try:
        summary.check(training.predictions, training.classes, training.results)
    except (KeyError, ValueError) as error:
        raise InputError(
            f"expected predictions.csv and results.json of one training in {path}, got "
            f"files that do not match ({error}); repeat `run.py evaluate`"
        ) from error
    validation = []
    if (path / files.VALIDATION).exists():
        validation, classes = predictions.read(path / files.VALIDATION)
        if tuple(classes) != tuple(training.classes):
            raise InputError(
                f"expected the classes of predictions.csv in {path / files.VALIDATION}, "
                f"got {', '.join(classes)}; repeat `run.py evaluate`"
            )
    splits = {}
    if (path / files.SPLITS).exists():
        splits = files.read_json(path / files.SPLITS)
    return Member(path, name, training, validation, splits)


def _check_same_corpus(one: Member, other: Member) -> None:
    corpora = [x.training.results["corpus"] for x in (one, other)]
    both = f"{one.name} and {other.name}"
    if corpora[0] != corpora[1]:
        raise InputError(
            f"Expected workdirs of one corpus; got {both} on {' and '.join(corpora)}."
        )
    # The digest is that of all used recordings together.
    used = [{*x.splits.get("labels", ())} for x in (one, other)]
    sounds = [x.splits.get("sounds") for x in (one, other)]
    if used[0] == used[1] and all(sounds) and sounds[0] != sounds[1]:
        raise InputError(
            f"Expected workdirs that heard the same recordings; got {both} with others "
            f"of the same names (sounds of splits.json: {' and '.join(sounds)}). Train "
            "both on one copy of the corpus."
        )
    classes = [x.training.classes for x in (one, other)]
    if {*classes[0]} != {*classes[1]}:
        listed = " and ".join(", ".join(x) for x in classes)
        raise InputError(
            f"Expected workdirs with the same classes; got {both} with {listed}. {_REMEDY}"
        )


def _in_order(member: Member, classes: tuple[str, ...]) -> Member:
    place = [member.training.classes.index(name) for name in classes]

    def reordered(lines: Sequence[Prediction]) -> list[Prediction]:
        return [
            dataclasses.replace(x, posteriors=tuple(x.posteriors[k] for k in place))
            for x in lines
        ]

    lines = reordered(member.training.predictions)
    return dataclasses.replace(
        member,
        training=dataclasses.replace(
            member.training, predictions=lines, classes=classes
        ),
        validation=reordered(member.validation),
    )


def _average_seeds(
    member: Member, lines: Sequence[Prediction], what: str
) -> list[Prediction]:
    """A line per fold and utterance, with the mean posteriors of all seeds."""
    same = collections.defaultdict(list)
    for line in lines:
        same[line.fold, line.utterance].append(line)
    averaged = []
    for (fold, utterance), of_seeds in same.items():
        seeds = sorted(line.seed for line in of_seeds)
        if seeds != sorted(member.seeds[fold]):
            raise InputError(
                "Expected workdirs with the same seeds, or seeds of a workdir that all "
                f"{what} the same; got {utterance} of fold {fold} in {member.name} with "
                f"{len(seeds)} of {len(member.seeds[fold])} seeds. Train both with the "
                "same protocol.seeds."
            )
        posteriors = fusion.mean(
            [[line.posteriors] for line in of_seeds], [1 / len(seeds)] * len(seeds)
        )
        values = tuple(posteriors[0].tolist())
        averaged.append(dataclasses.replace(of_seeds[0], seed=SEED, posteriors=values))
    return averaged


def _difference(first: Table, other: Table) -> str:
    """What differs between two tables, in words; empty if nothing does."""
    folds = [{fold for fold, _, _ in table} for table in (first, other)]
    if folds[0] != folds[1]:
        return f"folds {' and '.join(', '.join(sorted(names)) for names in folds)}"
    if others := first.keys() ^ other.keys():
        fold, seed, utterance = min(others)
        sizes = [sum(key[:2] == (fold, seed) for key in x) for x in (first, other)]
        return (
            f"{sizes[0]} and {sizes[1]} utterances in fold {fold}, seed {seed}, "
            f"{utterance} in one of them only"
        )
    for key, line in first.items():
        for field in ("label", "speaker", "corpus"):
            values = [getattr(x, field) for x in (line, other[key])]
            if values[0] != values[1]:
                return f"{field} {values[0]!r} and {values[1]!r} of {line.utterance}"
    return ""
