"""What is known of a workdir beside its weights."""

import os
from pathlib import Path

from ser_jax.report import phrases
from ser_jax.workdir import results as result_files


def about(path, config, meta: dict) -> dict:
    """What a reader of a workdir's answers should know; see `TrainedModel.provenance`.

    Args:
      path: The workdir, or a file with its weights.
      config: Its config.
      meta: Of its checkpoint, or of that file.
    """
    corpus = config.data.corpus
    if corpus == "manifest":
        corpus = Path(os.path.abspath(config.data.manifest)).parent.name
    known = {
        "workdir": str(path),
        "model": config.model.name,
        "corpus": corpus,
        "corpus_is_synthetic": config.data.corpus == "demo",
        "protocol": config.protocol.to_dict(),
        "selection": config.protocol.selection,
        "versions": meta["versions"],
        "git_commit": meta["git_commit"],
        "stamps": meta.get("stamps", _stamps(config)),
        "ua": None,
        "pooled_ua": None,
        "run_ua": {},
    }
    if (path / "results.json").exists():
        known |= _results(result_files.read_json(path / "results.json"))
    if unfinished := _unfinished(config, meta):
        known["stamps"] = [*known["stamps"], unfinished]
    return known


def _results(results: dict) -> dict:
    """What an evaluation added to what is known."""
    runs = results["runs"]
    return {
        "corpus": results["corpus"],
        "stamps": phrases.stamps(results),
        "ua": results["ua"],
        "pooled_ua": results["pooled"]["ua"],
        "run_ua": {(run["fold"], run["seed"]): run["ua"] for run in runs},
    }


def _unfinished(config, meta: dict) -> str:
    """What to say of a training that has not come to its end; empty otherwise."""
    records = meta.get("records", ())  # exported weights have none
    epochs = config.train.epochs
    if not any(record["active"] for record in records) or meta["epoch"] >= epochs:
        return ""
    return f"unfinished training: {meta['epoch']} of {epochs} epochs"


def _stamps(config) -> list[str]:
    said = {
        "synthetic corpus": config.data.corpus == "demo",
        "paper mode: epoch chosen on test data": config.protocol.selection == "test",
    }
    return [stamp for stamp, applies in said.items() if applies]
