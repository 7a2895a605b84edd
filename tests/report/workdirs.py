"""Small workdirs whose every number is known, for tests of their reports."""

import json

from ser_jax.scoring.summary import summarise as score
from ser_jax.workdir import files, results
from ser_jax.workdir import predictions as prediction_files
from ser_jax.workdir.predictions import Prediction


def predictions(rows, posteriors=(0.5, 0.5)) -> list[Prediction]:
    """From (utterance, fold, label, decision); one speaker, a fold is a session."""
    return [
        Prediction(name, fold, 0, "1F", fold, label, decided, posteriors)
        for name, fold, label, decided in rows
    ]


def summarise(tested, classes, *, runs=None, **about) -> dict:
    """Content of results.json; `about` replaces what else stands there."""
    folds = dict.fromkeys(record.fold for record in tested)
    if runs is None:
        runs = [{"fold": f, "seed": 0, "best_epoch": 1, "epochs": 1} for f in folds]
    defaults = {
        "corpus": "demo",
        "corpus_is_synthetic": False,
        "model": "area_attn",
        "utterances": results.count_utterances(len(tested), []),
        "seconds": {"train": 12.34},
        "versions": {"numpy": "2"},
        "git_commit": None,
    }
    return results.assemble(score(tested, runs, classes), defaults | about)


def write(folder, summary, tested, *, metrics=(), **config):
    """Writes the files of a workdir; `config` is the content of config.json."""
    folder.mkdir(exist_ok=True)
    files.write_json(folder / "results.json", summary)
    path = folder / "predictions.csv"
    prediction_files.write(path, tested, summary["classes"])
    if metrics:
        lines = "".join(json.dumps(line) + "\n" for line in metrics)
        (folder / "metrics.jsonl").write_text(lines)
    if config:
        (folder / "config.json").write_text(json.dumps(config))
    return folder
