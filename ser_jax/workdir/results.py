"""results.json: what was run, and how it scored."""

import collections
import dataclasses
from collections.abc import Iterable, Mapping, Sequence

from etils import epath

from ser_jax.workdir import files, predictions
from ser_jax.workdir.predictions import Prediction, Recording

# What results.json says before the scores, and behind them.
_HEAD = ("corpus", "corpus_is_synthetic", "protocol", "model")
_TAIL = ("utterances", "seconds", "versions", "git_commit")
_OPTIONAL = (
    "frames",  # where they were kept while training and testing
    "start_up",  # how long the last process took to its first step, what it compiled
    "memory",  # the most that the process which tested ever held
    "corpus_warnings",  # what scores on the corpus mean
    "groups",  # UA by gender and other columns
    "calibration",  # what posteriors mean, and scores of the surest decisions
    "selections",  # scores had the epoch been chosen otherwise: `val`, `test`, `last`
    "corpora",  # scores by trained and tested corpora, and what tells corpora apart
    "ensemble",  # whose posteriors are averaged, and by which weights
    "sweep",  # the points of a sweep, how each validated, which one each fold chose
    "text",  # what a model that reads words read, and how much of it leaks
)
_APART = " is in both training and test"  # how a promise of older workdirs ends


def assemble(scores: Mapping, about: Mapping) -> dict:
    """The content of results.json: scores, and what was run.

    `scores` are what `scoring.summary.summarise` returns, perhaps with optional keys.
    `about` holds the other keys (see above), or a ValueError is raised; an earlier
    results.json serves as well.
    """
    if absent := {*_HEAD, *_TAIL}.difference(about):
        raise ValueError(
            f"expected about to hold {_HEAD + _TAIL}, got none of {absent}"
        )
    selection = about["protocol"]["selection"]
    more = about | scores
    content = {
        **{key: about[key] for key in _HEAD},
        **{key: scores[key] for key in scores if key not in _OPTIONAL},
        "selection": selection,
        "paper_mode": selection == "test",
        **{key: about[key] for key in _TAIL},
        **{key: more[key] for key in _OPTIONAL if more.get(key)},
    }
    return files.plain(content)  # as it will be read back


def write(
    folder: epath.Path,
    content: Mapping,
    lines: Iterable[Prediction],
    *,
    validated: Sequence[Prediction] = (),
    recordings: Sequence[Recording] = (),
) -> None:
    """Writes the tables, then results.json: a folder with it is complete.

    `content` is what `assemble` returns. The file of a table that is empty is removed.
    """
    predictions.write(folder / files.PREDICTIONS, lines, content["classes"])
    if validated:
        predictions.write(folder / files.VALIDATION, validated, content["classes"])
    else:
        (folder / files.VALIDATION).unlink(missing_ok=True)
    if recordings:
        predictions.write_recordings(folder / files.RECORDINGS, recordings)
    else:
        (folder / files.RECORDINGS).unlink(missing_ok=True)
    files.write_json(folder / files.RESULTS, content)


def kept_apart(rules: Mapping) -> set[str]:
    """Columns (`speaker`, `session` ...) of which training and test share no value.

    `rules` is `protocol` of results.json; older ones say so in their promises alone.
    """
    kept = rules.get("kept_apart")
    if kept is not None:
        return {*kept}
    promises = [x for x in rules.get("promises", ()) if x.endswith(_APART)]
    apart = " and ".join(x.removesuffix(_APART) for x in promises).split(" and ")
    return {x.removeprefix("no ") for x in apart} - {""}


def count_utterances(
    used: int, excluded: Iterable, *, padded_short: int = 0, resampled: int = 0
) -> dict:
    """The part `utterances` of results.json.

    Of the `used` utterances some were `padded_short`, to a segment, and some recordings
    `resampled`; `excluded` are `corpora.utterance.Exclusion`s. Adds `skipped`: counts by
    reason, most frequent first.
    """
    listed = [dataclasses.asdict(item) for item in excluded]
    counts = collections.Counter(item["reason"] for item in listed)
    return {
        "used": int(used),
        "skipped": dict(counts.most_common()),
        "excluded": listed,
        "padded_short": int(padded_short),
        "resampled": int(resampled),
    }
