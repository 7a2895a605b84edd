"""A workdir that tries to break a report: hostile names, gaps, many of everything."""

import numpy as np
import soundfile

from ser_jax.corpora.utterance import Exclusion
from ser_jax.scoring import transfer
from ser_jax.workdir import cross_corpus, files, results
from ser_jax.workdir.predictions import Prediction, Recording, write_recordings
from tests.report import workdirs

SCRIPT = "<script>window.broken = 1</script>"
CLASSES = (
    *(SCRIPT, '"><img src=x onerror="window.broken=1">', "back`tick|pipe"),
    *("very-long-emotion-name-that-nobody-would-ever-choose", "never tested **x**"),
    "costs $5_$6",
    *(f"emotion{number}" for number in range(6)),
)
NEVER = 4
SPEAKERS, RUNS, RATE_HZ = 40, 10, 8000


def predictions() -> list[Prediction]:
    """40 speakers in 10 runs, 12 classes of which one is never true."""
    generator = np.random.default_rng(11)
    records = []
    for number in range(360):
        label = number % len(CLASSES)
        label = 0 if label == NEVER else label
        scores = generator.dirichlet(np.ones(len(CLASSES)))
        records.append(
            Prediction(
                utterance=f"{SCRIPT}/u|`{number}`&amp;\n",
                fold=f"fold<{number % RUNS}>",
                seed=0,
                speaker=f"<b>speaker {number % SPEAKERS}</b>",
                session=f"s{number % 3}'\"",
                label=CLASSES[label],
                prediction=CLASSES[int(scores.argmax())],
                posteriors=tuple(scores.tolist()),
            )
        )
    return records


def workdir(folder):
    """The folder with all its files; three recordings exist, one of them changed."""
    tested = predictions()
    runs = [
        {"fold": f"fold<{run}>", "seed": 0, "best_epoch": 2, "epochs": 3}
        for run in range(RUNS)
    ]
    excluded = [Exclusion(f"{SCRIPT}`{n}", "label <i>", SCRIPT) for n in range(5)]
    summary = workdirs.summarise(
        tested,
        CLASSES,
        runs=runs,
        corpus=f"corpus {SCRIPT}",
        corpus_is_synthetic=True,
        model="model</title>" + SCRIPT,
        protocol={"split": "<u>", "selection": "test", "promises": [SCRIPT]},
        utterances=results.count_utterances(360, excluded),
        seconds={"training": None, "a </script>": 2.0},
        versions={"numpy": SCRIPT},
    )
    summary["runs"][0]["ua"] = None  # as an older or foreign tool may leave it
    summary["ua"] = {"mean": None, "std": None}
    metrics = [
        {"fold": run["fold"], "seed": 0, "epoch": epoch, "train_loss": 2.0 / epoch}
        | {"test_ua": None if epoch == 2 else 0.1 * epoch, "val_loss": float("inf")}
        for run in runs
        for epoch in (1, 2, 3)
    ]
    published = {"paper": SCRIPT, "ua": "about 70 <b>", "wa": None, "split": SCRIPT}
    command = "python run.py </code></pre>" + SCRIPT
    config = {"config": {}, "published": published, "command": command}
    workdirs.write(folder, summary, tested, metrics=metrics, **config)
    with (folder / "metrics.jsonl").open("a") as file:
        file.write('{"torn')
    _record(folder, tested)
    _test_elsewhere(folder)
    return folder


def _test_elsewhere(folder):
    (folder / files.CROSS_CORPUS).mkdir()
    names = (SCRIPT, "long-" * 30, "x|`y`**z**")
    posteriors, labels = np.eye(3)[[0, 1, 2, 0]], [0, 1, 2, 1]
    texts = dict.fromkeys(cross_corpus.CONTENT, f"<b>{SCRIPT}</b>")
    scores = transfer.score(posteriors, labels, names, [1, 2, 3], [""] * 4)
    excluded = [Exclusion(SCRIPT, "<i>", SCRIPT)]
    lists = {
        "classes": names,
        "labels": {SCRIPT: SCRIPT, "|": names[1]},
        "dropped_labels": {f"label {n} {SCRIPT}": n for n in range(30)},
        "dropped_classes": CLASSES,
        "runs": [["<", 0]],
        "stamps": [SCRIPT],
        "notes": [SCRIPT],
        "warnings": {SCRIPT: 3},
        "speakers": 0,
        "utterances": results.count_utterances(4, excluded),
    }
    files.write_json(
        folder / files.CROSS_CORPUS / "x.json", {**texts, **scores, **lists}
    )


def _record(folder, tested):
    tone = 0.3 * np.sin(np.arange(RATE_HZ) / 9.0)
    path = folder / 'tone"><script>.wav'
    soundfile.write(path, tone, RATE_HZ)
    rows = [
        Recording(record.utterance, 1.0 + (number % 7 == 0), str(path))
        for number, record in enumerate(tested)
    ]
    write_recordings(folder / files.RECORDINGS, rows)
