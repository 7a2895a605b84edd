"""From trained states to predictions.csv and results.json."""

import dataclasses
import sys
from collections.abc import Iterator, Mapping, Sequence

import jax
import numpy as np

from ser_jax import clock
from ser_jax.corpora import descriptions
from ser_jax.corpora.several import IEMOCAP_CORPORA, corpus_of
from ser_jax.data import columns, duplicates, protocols, text_repeats
from ser_jax.scoring import calibration, groups, summary
from ser_jax.training import corpus_matrix, hosts
from ser_jax.training.experiment import Experiment
from ser_jax.training.trainer import Trainer
from ser_jax.workdir import predictions, provenance, results
from ser_jax.workdir.checkpoint import Snapshot
from ser_jax.workdir.config import corpus_names
from ser_jax.workdir.workdir import Workdir

try:
    import resource
except ImportError:  # Windows
    resource = None


@clock.part("evaluation")
def evaluate(config, workdir: Workdir, trainer: Trainer, snapshot: Snapshot) -> dict:
    """Tests every run's best state; writes the tables, then results.json; its content."""
    experiment = trainer.experiment
    weights = trainer.placement.scatter(snapshot.best)
    posteriors = trainer.posteriors(weights, [run.test for run in experiment.runs])
    lines = list(_predictions(experiment, posteriors))
    validated = []
    if config.protocol.selection == "val":
        segments = [run.select for run in experiment.runs]
        held_out = trainer.posteriors(weights, segments)
        validated = list(_predictions(experiment, held_out, part="select"))
    records = _run_records(
        experiment, snapshot, by_corpus=config.protocol.split == "pairs"
    )
    scores = summary.summarise(lines, records, experiment.classes)
    counted = summary.counted(lines, records)
    about = _about(config, experiment)
    about["calibration"] = calibration.summarise(counted, validated, experiment.classes)
    about["groups"] = _groups(experiment, counted)
    about["frames"] = dataclasses.asdict(trainer.feeder.storage)
    if len({line.corpus for line in lines}) > 1:
        about["corpora"] = {
            "cells": corpus_matrix.cells(experiment, lines, config),
            "probe": corpus_matrix.probe(trainer, weights),
        }
    if config.protocol.compare_selections:
        own = config.protocol.selection
        about["selections"] = selections(scores, records, snapshot, own)
    content = results.assemble(scores, about)
    tested = _recordings(experiment)
    if hosts.is_first():
        results.write(
            workdir.path, content, lines, validated=validated, recordings=tested
        )
    return content


def splits(experiment: Experiment) -> dict:
    """The content of splits.json: classes, every utterance's class, every fold."""
    folds = [run.fold for run in experiment.runs]
    labels = zip(experiment.utterances, experiment.labels, strict=True)
    return {
        "classes": list(experiment.classes),
        "sounds": experiment.sound_digest,
        "labels": {u.id: experiment.classes[k] for u, k in labels},
        **protocols.splits_json(folds, experiment.utterances),
    }


def rules(config) -> dict:
    """`config.protocol` as plain values, without what only IEMOCAP knows elsewhere."""
    known = config.protocol.to_dict()
    if config.data.corpus not in IEMOCAP_CORPORA:
        del known["subset"]
    if {*corpus_names(config.data)}.isdisjoint(IEMOCAP_CORPORA):
        del known["happy"]
    return known


def text_read(experiment: Experiment) -> dict:
    """The part `text` of results.json: what is read, and how much of it is a leak.

    A sentence counts as repeated if what was spoken or what the model reads repeats:
    recognition errors hide a repetition, they do not undo it.
    """
    folds = [run.fold for run in experiment.runs]
    shares = _repeated_sentences(experiment, experiment.texts)
    repeated = {"mean": float(np.mean(shares)), "max": float(np.max(shares))}
    scripts = text_repeats.scripts_shared(folds, experiment.utterances)
    return {
        **experiment.text,
        "sentences_also_in_training": repeated,
        "scripts_also_in_training": scripts,
    }


def _repeated_sentences(experiment: Experiment, *texts) -> tuple[float, ...]:
    """Per run, the share of test utterances whose words also occur in training."""
    folds = [run.fold for run in experiment.runs]
    spoken = [utterance.text for utterance in experiment.utterances]
    return text_repeats.sentence_shares(folds, spoken, *texts)


def _predictions(
    experiment: Experiment, posteriors, part: str = "test"
) -> Iterator[predictions.Prediction]:
    for run, scores in zip(experiment.runs, posteriors, strict=True):
        segments = getattr(run, part)
        for u, row in zip(np.unique(segments.utterance), scores, strict=True):
            utterance = experiment.utterances[u]
            yield predictions.Prediction(
                utterance=utterance.id,
                fold=run.fold.name,
                seed=run.fold.seed,
                speaker=utterance.speaker,
                session=utterance.session,
                label=experiment.classes[experiment.labels[u]],
                prediction=experiment.classes[int(row.argmax())],
                posteriors=tuple(float(p) for p in row),
                corpus=corpus_of(utterance),
            )


def _groups(experiment: Experiment, lines) -> dict:
    """UA by gender, language and further columns: what all seeds decide together."""
    decided = summary.decisions(lines, experiment.classes)
    labels, decisions, speakers = zip(*decided.values(), strict=True)
    by_id = {utterance.id: utterance for utterance in experiment.utterances}
    tested = [by_id[name] for _, name in decided]
    return {
        name: groups.compare(labels, decisions, speakers, values, experiment.classes)
        for name, values in columns.telling(tested, labels).items()
    }


def _recordings(experiment: Experiment) -> list:
    """Of every utterance that some run tests, in the order of their ids."""
    corpus, utterances = experiment.corpus, experiment.utterances
    durations_s = (corpus.num_samples / corpus.spec.sample_rate_hz).tolist()
    tested = sorted({u for run in experiment.runs for u in run.fold.test})
    return [
        predictions.Recording(utterances[u].id, durations_s[u], utterances[u].wav)
        for u in tested
    ]


def _memory() -> dict:
    """The most memory that this process and one device of it ever held, in bytes."""
    on_host = None
    if resource:
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        on_host = peak if sys.platform == "darwin" else 1024 * peak  # elsewhere KiB
    stats = [device.memory_stats() or {} for device in jax.local_devices()]
    # CPU devices report nothing.
    on_device = [s["peak_bytes_in_use"] for s in stats if "peak_bytes_in_use" in s]
    return {
        "host_peak_bytes": on_host,
        "device_peak_bytes": max(on_device, default=None),
    }


def _run_records(
    experiment: Experiment, snapshot: Snapshot, *, by_corpus: bool
) -> list[dict]:
    """What `summarise` is told of every run, or of every other corpus that it tests."""
    records = []
    for run, record in zip(experiment.runs, snapshot.records, strict=True):
        about = {
            "fold": run.fold.name,
            "seed": run.fold.seed,
            "best_epoch": record.best_epoch,
            "epochs": record.epochs,
            "best_update": record.best_update,
            "updates": record.updates,
            "n_train": len(run.fold.train),
            "n_val": len(run.fold.val),
        }
        tested = {corpus_of(experiment.utterances[u]) for u in run.fold.test}
        others = sorted(tested - {run.fold.name})
        records += [about | {"tested": x} for x in others] if by_corpus else [about]
    return records


def selections(
    scores: Mapping,
    runs: Sequence[Mapping],
    snapshot: Snapshot,
    selection: str,
) -> dict:
    """The part `selections` of results.json: had the epoch been chosen otherwise.

    `scores` are what `summarise` gave for `runs` and this training's own selection;
    those of the others come from what validation wrote down of the test part.

    Returns:
      By `val`, `test` and `last`, where known: `wa`, `ua`, `macro_f1`, `pooled` and, per
      run, `fold`, `seed`, `ua`, `best_epoch` and `best_update`.
    """
    found = {selection: scores}
    for name in {"test", "last"} - {selection}:
        tests = [record.compared[name] for record in snapshot.records]
        places = [
            {"best_update": x["update"], "best_epoch": record.in_epochs(x["update"])}
            for x, record in zip(tests, snapshot.records, strict=True)
        ]
        chosen = [run | place for run, place in zip(runs, places, strict=True)]
        confusions = [x["confusion"] for x in tests]
        found[name] = summary.score_runs(chosen, confusions, scores["classes"])
    about_run = ("fold", "seed", "ua", "best_epoch", "best_update")
    return {
        name: {
            "runs": [
                {key: run[key] for key in about_run} for run in found[name]["runs"]
            ],
            **{key: found[name][key] for key in (*summary.SCORES, "pooled")},
        }
        for name in ("val", "test", "last")
        if name in found
    }


def _about(config, experiment: Experiment) -> dict:
    running, protocol = clock.current(), rules(config)
    folds = [run.fold for run in experiment.runs]
    near = duplicates.in_two_parts(
        folds, experiment.utterances, experiment.data_issues["near_duplicates"]
    )
    compared = config.data.duplicates != "ignore"
    protocol["promises"] = protocols.promises(
        config.protocol, compared=compared, near=near
    )
    protocol["kept_apart"] = protocols.kept_apart(config.protocol)
    protocol["leaks"] = protocols.leaks(compared=compared, near=near)
    protocol["target_use"] = protocols.target_use(
        folds, experiment.utterances, config.protocol, config.data.normalize
    )
    repeated = float(np.mean(_repeated_sentences(experiment)))
    protocol["test_sentences_also_trained"] = repeated
    return {
        "corpus": provenance.corpus_name(config.data),
        "corpus_is_synthetic": provenance.is_synthetic(config.data),
        "corpus_warnings": descriptions.warnings(corpus_names(config.data)),
        "protocol": protocol,
        "model": config.model.name,
        "text": text_read(experiment) if config.data.text != "none" else {},
        "utterances": results.count_utterances(
            used=len(experiment.utterances),
            excluded=experiment.excluded,
            padded_short=len(experiment.padded),
            resampled=experiment.corpus.resampled,
        )
        | experiment.data_issues
        | {"near_duplicates_in_two_parts": near},
        "seconds": running.seconds(),
        # What this process did before its first step, and the programs it used.
        "start_up": {
            "first_step_after_s": running.first.get("first_step"),
            "programs": running.counts["programs"],
            "from_cache": running.counts["from_cache"],
        },
        "memory": _memory(),
        "versions": provenance.versions(),
        "git_commit": provenance.git_commit(),
    }
