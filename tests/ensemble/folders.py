"""Small workdirs that an ensemble is made of, every number of them known."""

from ser_jax.ensemble import ensemble
from ser_jax.workdir import contents, files
from ser_jax.workdir import predictions as prediction_files
from ser_jax.workdir.predictions import Prediction
from tests.report import workdirs

CLASSES = ("angry", "sad", "glad")
KEPT = {"kept_apart": ["speaker"], "leaks": [], "target_use": ""}
PROMISE = "no speaker is in both training and test"

# By (fold, utterance): the label, and what a member says of it.
TESTED = {
    ("s1", "a1"): ("angry", (0.6, 0.3, 0.1)),
    ("s1", "b1"): ("sad", (0.5, 0.4, 0.1)),
    ("s2", "a2"): ("angry", (0.2, 0.5, 0.3)),
    ("s2", "c2"): ("glad", (0.1, 0.1, 0.8)),
}

OTHER = {
    ("s1", "a1"): ("angry", (0.2, 0.4, 0.4)),
    ("s1", "b1"): ("sad", (0.1, 0.8, 0.1)),
    ("s2", "a2"): ("angry", (0.7, 0.1, 0.2)),
    ("s2", "c2"): ("glad", (0.3, 0.3, 0.4)),
}
# Beside TESTED, which is right on a1 and c2.
EVEN = {
    ("s1", 0, "a1"): (0.4, 0.35, 0.25),
    ("s1", 0, "b1"): (0.3, 0.6, 0.1),
    ("s2", 0, "a2"): (0.45, 0.3, 0.25),
    ("s2", 0, "c2"): (0.2, 0.2, 0.6),
}

# Of s1 the first is right on three of four; of s2 the second on both.
VALIDATED = {
    ("s1", "v1"): ("angry", (0.9, 0.1, 0.0)),
    ("s1", "v2"): ("angry", (0.9, 0.0, 0.1)),
    ("s1", "v3"): ("sad", (0.0, 0.9, 0.1)),
    ("s1", "v4"): ("glad", (0.9, 0.0, 0.1)),
    ("s2", "a1"): ("angry", (0.3, 0.7, 0.0)),
    ("s2", "b1"): ("sad", (0.6, 0.4, 0.0)),
}
VALIDATED_OTHERWISE = {
    ("s1", "v1"): ("angry", (0.1, 0.9, 0.0)),
    ("s1", "v2"): ("angry", (0.1, 0.0, 0.9)),
    ("s1", "v3"): ("sad", (0.0, 0.1, 0.9)),
    ("s1", "v4"): ("glad", (0.1, 0.0, 0.9)),
    ("s2", "a1"): ("angry", (0.8, 0.2, 0.0)),
    ("s2", "b1"): ("sad", (0.1, 0.9, 0.0)),
}


def lines(said, classes=CLASSES, seeds=(0,), **fields) -> list[Prediction]:
    """Of every seed the same; the speaker is the fold."""
    return [
        Prediction(
            name,
            fold,
            seed,
            fields.get("speaker", fold),
            "x",
            label,
            classes[max(range(len(classes)), key=posteriors.__getitem__)],
            posteriors,
        )
        for seed in seeds
        for (fold, name), (label, posteriors) in said.items()
    ]


def write(folder, said=TESTED, *, classes=CLASSES, seeds=(0,), own=None, **about):
    """A workdir in whose order of classes `said` is.

    Args:
      folder: To write to.
      said: As `TESTED`.
      classes: Their order.
      seeds: All say the same, or what `own`, by seed, has instead of `said`.
      own: See `seeds`.
      **about: `validated`, as `said`; `sounds`, `rules` of the protocol, `speaker`,
        `epochs` of the config, and what else replaces parts of results.json.
    """
    own = own or dict.fromkeys(seeds, said)
    validated = about.pop("validated", None) or {}
    speaker = {"speaker": about.pop("speaker")} if "speaker" in about else {}
    tested = [x for s in own for x in lines(own[s], classes, (s,), **speaker)]
    rules = {"split": "group", "selection": "val" if validated else "last", **KEPT}
    rules |= {"promises": [PROMISE], "validation": "group"} | about.pop("rules", {})
    sounds, epochs = about.pop("sounds", ""), about.pop("epochs", 2)
    runs = dict.fromkeys((x.fold, x.seed) for x in tested)
    none = {"best_epoch": 1, "epochs": 2, "n_train": 5}
    about |= {"runs": [{"fold": f, "seed": s} | none for f, s in runs]}
    about = {"model": folder.name, "protocol": rules} | about
    results = workdirs.summarise(tested, classes, **about)
    command = f"python run.py --config=configs/{folder.name}.py:demo"
    config = {"protocol": rules, "train": {"epochs": epochs}}
    workdirs.write(folder, results, tested, config=config, command=command)
    if validated:
        held_out = lines(validated, classes, own, **speaker)
        prediction_files.write(folder / files.VALIDATION, held_out, classes)
    if sounds:
        labels = {x.utterance: x.label for x in tested}
        splits = {"sounds": sounds, "labels": labels, "folds": []}
        files.write_json(folder / files.SPLITS, splits)
    return folder


def posteriors(folder) -> dict:
    """By (fold, seed, utterance), rounded to what a person can check."""
    read = contents.read(folder)
    return {
        (x.fold, x.seed, x.utterance): tuple(round(p, 6) for p in x.posteriors)
        for x in read.predictions
    }


def reordered(said, place) -> dict:
    """In another order of classes."""
    return {
        key: (label, tuple(values[k] for k in place))
        for key, (label, values) in said.items()
    }


def fuse(tmp_path, *members, **options) -> dict:
    """The content of results.json in `out`."""
    return ensemble.run(members, str(tmp_path / "out"), **options)


def without(said, *gone) -> dict:
    """Without these utterances."""
    return {key: value for key, value in said.items() if key[1] not in gone}


def two_validated(tmp_path, **changes) -> tuple:
    """Members `one` and `other`, whose keywords of `write` the `changes` are."""
    one = write(tmp_path / "one", TESTED, validated=VALIDATED)
    about = {"validated": VALIDATED_OTHERWISE} | changes
    return one, write(tmp_path / "other", about.pop("said", OTHER), **about)
