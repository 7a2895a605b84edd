"""The command `ensemble`: the averaged posteriors of workdirs that tested the same."""

from collections.abc import Sequence

from etils import epath

from ser_jax.ensemble import carried, fused, origin
from ser_jax.ensemble import members as member_files
from ser_jax.ensemble.members import Member
from ser_jax.errors import InputError
from ser_jax.scoring import calibration, summary
from ser_jax.workdir import ensemble as ensemble_files
from ser_jax.workdir import files, provenance, results
from ser_jax.workdir.lock import lock
from ser_jax.workdir.predictions import Recording
from ser_jax.workdir.workdir import Workdir

WEIGHTS = ("equal", *fused.RULES)
_OTHERS = (files.CONFIG, files.CHECKPOINTS, files.PREDICTIONS, files.RESULTS)


def run(workdirs: Sequence, out: str, weights: str = "equal") -> dict:
    """Averages the posteriors of workdirs that tested the same; writes a folder like one.

    Runs of the same fold and seed are averaged. If the members' seeds differ, each
    averages its own seeds first, and there is one run per fold. With `validation` the
    weights of a fold are those with the lowest NLL on what all members validated there,
    with `best` all weight is that of the member with the highest UA there; nothing of a
    test part plays a part in them.

    Args:
      workdirs: Two or more; their order plays no part, but for the order of lines.
      out: The folder to write, new or of an earlier ensemble.
      weights: One of `WEIGHTS`.

    Returns:
      The content of its results.json.

    Raises:
      InputError: The workdirs did not test the same, validated nothing or not the same
        (weights `validation`, `best`), or the folder cannot be used.
    """
    if weights not in WEIGHTS:
        raise InputError(
            f"--weights: expected one of {', '.join(WEIGHTS)}; got {weights!r}."
        )
    members = member_files.read(workdirs)
    folder = _check_place(out, members)
    lines = [one.training.predictions for one in members]
    tests = member_files.tables(members, lines, "tested")
    parts, classes = fused.parts(tests[0]), members[0].training.classes
    if weights in fused.RULES:
        held_out = fused.validated(members, parts, tests[0])
        chosen = fused.choose_weights(held_out, parts, classes, weights)
    else:
        chosen = dict.fromkeys(parts.values(), [1 / len(members)] * len(members))
        try:  # for the temperature
            held_out = fused.validated(members, parts, tests[0])
        except InputError:
            held_out = []
    lines, validated = (
        fused.lines(x, chosen, parts, classes) for x in (tests, held_out)
    )
    content = _content(members, weights, chosen, lines, validated)
    recordings = _recordings(members, lines)
    with lock(Workdir(folder).path):
        origin.write(folder, members, weights)
        results.write(
            folder, content, lines, validated=validated, recordings=recordings
        )
    return content


def _check_place(out: str, members: Sequence[Member]) -> epath.Path:
    """The folder's path; InputError if it is somebody else's."""
    if not out:
        raise InputError("Expected --out=FOLDER, where the ensemble goes; got none.")
    folder = files.resolve(out)
    is_member = any(one.path in (folder, *folder.parents) for one in members)
    is_ours = bool(ensemble_files.members(folder))
    if is_member or (not is_ours and any((folder / x).exists() for x in _OTHERS)):
        raise InputError(
            f"--out: expected a new folder, or an earlier ensemble's; got {folder}, a "
            f"{'member' if is_member else 'workdir'}. Choose another."
        )
    return folder


def _content(members, weights, chosen, lines, validated) -> dict:
    """results.json: the scores, and what members bring along."""
    classes = members[0].training.classes
    shared = member_files.have_same_seeds(members)
    of_members = [one.training.results for one in members]
    runs = carried.runs(of_members, None if shared else member_files.SEED)
    counted = summary.counted(lines, runs)
    about = carried.about(of_members)
    about |= {
        "versions": provenance.package_versions(origin.PACKAGES),
        "git_commit": provenance.git_commit(),
        "calibration": calibration.summarise(counted, validated, classes),
        "ensemble": {
            "weights": weights,
            "seeds": "one by one" if shared else "averaged first",
            "members": [
                origin.describe(one, {part: x[number] for part, x in chosen.items()})
                for number, one in enumerate(members)
            ],
        },
    }
    return results.assemble(summary.summarise(lines, runs, classes), about)


def _recordings(members, lines) -> list[Recording]:
    """Of what is tested, as the first member has them that has all; else none."""
    tested = sorted({line.utterance for line in lines})
    for one in members:
        known = one.training.recordings
        if all(name in known for name in tested):
            return [known[name] for name in tested]
    return []
