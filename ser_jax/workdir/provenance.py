"""Where numbers come from: corpus, code, machine, and what must be said of them."""

import collections
import importlib.metadata
import os
import platform
import shlex
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from ser_jax.workdir import files
from ser_jax.workdir.config import corpus_names

PACKAGES = ("jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "numpy", "librosa")

SYNTHETIC = "synthetic corpus"
PAPER_MODE = "paper mode: epoch chosen on test data"
REPEATED_SENTENCES = "test sentences also in training"
TARGET_USE = "target use: "  # what training had of the tested corpora
# Short answers (`Yeah.`) repeat everywhere; more than this is a corpus that repeats.
REPEATED_SHARE = 0.05


def versions() -> dict[str, str]:
    """Versions of what the numbers depend on, and the machine they came from."""
    import jax  # only where something was computed: results are read without it

    device = jax.devices()[0]
    return {
        **package_versions(PACKAGES),
        "device": f"{jax.device_count()} x {device.device_kind}",
        "machine": f"{platform.machine()}, {os.cpu_count()} CPU cores",
    }


def package_versions(packages: Sequence[str]) -> dict[str, str]:
    """Versions of Python and of the packages."""
    installed = {name: importlib.metadata.version(name) for name in packages}
    return {"python": platform.python_version(), **installed}


def command() -> str:
    """The command line of this process, as the user gave it."""
    return shlex.join(["python", *sys.argv])


def git_commit() -> str:
    """Commit of the code, with `-dirty` if it was changed; empty outside git."""
    try:
        return subprocess.run(
            ["git", "describe", "--always", "--dirty", "--abbrev=40"],
            cwd=Path(__file__).parent,
            capture_output=True,
            text=True,
            check=True,
        ).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return ""


def corpus_name(data) -> str:
    """The corpus of `config.data`: a manifest goes by the name of its folder.

    Several are joined by +.
    """
    if data.corpus == "multi":
        return "+".join(sorted(corpus_names(data)))
    if data.corpus == "manifest":
        return Path(os.path.abspath(data.manifest)).parent.name
    return data.corpus


def is_synthetic(data) -> bool:
    """Whether some of the speech is synthetic."""
    return "demo" in corpus_names(data)


def stamps(results: Mapping) -> list[str]:
    """What every artefact must say of itself; often nothing.

    `results` is the content of results.json, or of it `corpus_is_synthetic`,
    `paper_mode` and, where they apply, `text` and `protocol`.
    """
    target_use = results.get("protocol", {}).get("target_use")
    text = results.get("text") or {}
    shares = text.get("sentences_also_in_training") or {"mean": 0.0}
    repeats = shares["mean"] > REPEATED_SHARE or text.get("scripts_also_in_training")
    applies = {
        SYNTHETIC: results["corpus_is_synthetic"],
        PAPER_MODE: results["paper_mode"],
        REPEATED_SENTENCES: repeats,
        f"{TARGET_USE}{target_use}": target_use,
    }
    return [stamp for stamp, holds in applies.items() if holds]


def _stamps_of_answers(results: Mapping) -> list[str]:
    """Those that hold for new recordings, too: what was tested is not among them."""
    return [x for x in stamps(results) if not x.startswith(TARGET_USE)]


def describe(path, config, meta: Mapping) -> dict:
    """`TrainedModel.provenance`, of a workdir or of a file of weights and its meta."""
    synthetic = is_synthetic(config.data)
    paper_mode = config.protocol.selection == "test"
    description = {
        "workdir": str(path),
        "model": config.model.name,
        "corpus": corpus_name(config.data),
        "corpus_is_synthetic": synthetic,
        "protocol": config.protocol.to_dict(),
        "selection": config.protocol.selection,
        "versions": meta["versions"],
        "git_commit": meta["git_commit"],
        "stamps": meta.get("stamps")
        or stamps({"corpus_is_synthetic": synthetic, "paper_mode": paper_mode}),
        "ua": None,
        "pooled_ua": None,
        "run_ua": {},
    }
    if (path / files.RESULTS).exists():
        scores = files.read_json(path / files.RESULTS)
        description |= {
            "corpus": scores["corpus"],
            "stamps": _stamps_of_answers(scores),
            "ua": scores["ua"],
            "pooled_ua": scores["pooled"]["ua"],
            "run_ua": _run_ua(scores["runs"]),
        }
    more = filter(None, (_unfinished(config, meta), _scaled_otherwise(config.data)))
    description["stamps"] = list(dict.fromkeys([*description["stamps"], *more]))
    return description


def _run_ua(runs: Sequence[Mapping]) -> dict[tuple[str, int], float]:
    """UA by run; of one that is tested on several corpora the mean."""
    scores = collections.defaultdict(list)
    for run in runs:
        scores[run["fold"], run["seed"]].append(run["ua"])
    return {run: sum(values) / len(values) for run, values in scores.items()}


def _scaled_otherwise(data) -> str:
    """The stamp of answers that no score tells of: a new recording comes alone."""
    if data.normalize in ("none", "fold"):
        return ""
    return f"scaled by the training, tests by their own {data.normalize}"


def trained(train, position: Mapping) -> str:
    """`2 of 7 epochs`, or updates where they count; `position` is a snapshot's."""
    if train.updates:
        return f"{position['update']} of {train.updates} updates"
    return f"{position['epoch']:.4g} of {train.epochs} epochs"


def _unfinished(config, meta: Mapping) -> str:
    """The stamp of a training that has not come to its end; empty otherwise."""
    records, train = meta.get("records", ()), config.train  # exported weights have none
    if not any(record["active"] for record in records):
        return ""
    done = meta["update"] if train.updates else meta["epoch"]
    if done >= (train.updates or train.epochs):
        return ""
    return f"unfinished training: {trained(train, meta)}"
