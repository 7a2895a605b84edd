"""Everything a training needs, made from a config: data, folds, segments, model."""

import collections
import dataclasses
import functools
import logging

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from ser_jax import clock, models
from ser_jax.corpora.several import corpus_of
from ser_jax.corpora.utterance import Exclusion, Utterance
from ser_jax.data import (
    batches,
    duplicates,
    normalize,
    protocols,
    side_inputs,
    spellings,
)
from ser_jax.data.batches import Run, Tables
from ser_jax.data.classes import assign_classes, classes_called, count_labels
from ser_jax.data.segment_tables import BlockTable, FrameTable, SampleTable
from ser_jax.datasets import build, sketches, store
from ser_jax.errors import InputError
from ser_jax.features import recipe, segments
from ser_jax.training import hosts, losses, optim
from ser_jax.training import state as state_lib
from ser_jax.training.batch import example_batch
from ser_jax.training.state import Constants

_log = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class Experiment:
    """A corpus under a protocol, ready to train."""

    classes: tuple[str, ...]  # names of the K classes, in label order
    labels: np.ndarray  # int32 [U], class of each used utterance
    corpus: store.Store  # the used utterances, sorted by id
    runs: tuple[Run, ...]  # segments of every fold x seed
    test_segments: segments.Segments  # of all utterances, at the test step
    # What segments are cut from, by their field of `Tables`: `frames` of the utterances
    # and their copies; `samples` if `augment.vtlp` is `online`.
    segment_tables: dict[str, BlockTable]
    tables: Tables  # what else batches are gathered from: words, speaker embeddings
    # Frames to which segments are padded, ascending; one size unless they vary.
    sizes: tuple[int, ...]
    constants: Constants  # what each run keeps fixed, stacked [R, ...]
    excluded: tuple[Exclusion, ...]  # what is left out, and why
    data_issues: dict  # duplicates, look-alike spellings ..., for results.json
    texts: tuple[str, ...]  # what the model reads of each utterance; () if no words
    text: dict  # what is known of them, for results.json; {} if it reads no words

    @property
    def utterances(self) -> tuple[Utterance, ...]:
        """The used utterances, sorted by id."""
        return self.corpus.utterances

    @property
    def padded(self) -> tuple[str, ...]:
        """Ids of used utterances that fill less than one segment."""
        return tuple(self.utterances[u].id for u in self.test_segments.padded)

    @property
    def sound_digest(self) -> str:
        """16 hex digits that change with the samples of any used recording."""
        return sketches.joint_digest(self.corpus.sound_digests)

    @property
    def frame_table(self) -> FrameTable:
        """The table of all frames."""
        return self.segment_tables["frames"]

    @property
    def input_shapes(self) -> dict[str, tuple[int, ...]]:
        """Shapes of the model's inputs without the batch axis."""
        shapes = {"frames": (self.sizes[-1], *self.frame_table.shape[1:])}
        if self.tables.tokens is not None:
            width = self.tables.word_vectors.shape[1]
            shapes["words"] = (self.tables.tokens.shape[1], width)
        if self.tables.speaker_embeddings is not None:
            shapes["speaker_embedding"] = self.tables.speaker_embeddings.shape[1:]
        return shapes


@clock.part("load")
def prepare(config) -> Experiment:
    """Builds or reads the features, then forms folds and segments.

    Raises:
      InputError: For anything in the config or the corpus that cannot be used.
    """
    online = config.augment.vtlp == "online"
    with hosts.first_before_others():  # it builds what the others then read
        whole = _dataset(config)
    _warn(whole)
    whole, look_alikes = _merge_spellings(whole, config.data)
    groups = duplicates.find(whole.utterances, whole.sound_digests)
    corpus, labels, classes, excluded, label_counts = _usable(whole, groups, config)
    apart = groups if config.data.duplicates == "apart" else ()
    folds = protocols.make_folds(corpus.utterances, labels, config.protocol, apart)
    runs, test_segments = _cut_runs(corpus, labels, classes, folds, config)
    sizes = _sizes(corpus, config.segment)
    frames = FrameTable.from_store(corpus, sizes[-1])
    segment_tables = {"frames": frames}
    texts = side_inputs.texts(corpus, config.data)
    tables, text = side_inputs.tables(corpus, texts, config.data)
    tables = tables._replace(**_own_statistics(corpus, config.data.normalize))
    if online:
        samples = SampleTable.open(corpus, frames, config.data, sizes[-1])
        segment_tables["samples"] = samples
        tables = tables._replace(recordings=samples.recordings)
    return Experiment(
        classes=classes,
        labels=labels,
        corpus=corpus,
        runs=runs,
        test_segments=test_segments,
        segment_tables=segment_tables,
        tables=tables,
        sizes=sizes,
        constants=_constants(corpus, frames, runs, labels, sizes, config),
        excluded=excluded,
        data_issues={
            "duplicates": groups,
            "near_duplicates": whole.near_duplicates,
            "lost": whole.lost,
            "labels": label_counts,
            "spellings": [item._asdict() for item in look_alikes],
        },
        texts=texts,
        text=text,
    )


def _dataset(config) -> store.Store:
    """All of the corpus, which is built unless it is there."""
    spec = recipe.recipe_of(config)
    states = spec if isinstance(spec, recipe.StatesSpec) else None
    online = config.augment.vtlp == "online"
    return store.load(
        build.ensure_built(config.data, samples=online, states=states),
        channels=config.data.channels,
        copies=config.augment.vtlp in ("all", "one"),
        cache_dir=config.data.cache_dir,
        states=states,
    )


def new_states(config, experiment: Experiment):
    """Model definition, states of all runs at step 0, and what they share.

    States are a host tree [R, ...]; shared are weights of a pretrained encoder that no
    run changes.
    """
    weights = models.encoder_weights(config)

    @jax.jit  # operation by operation, a model compiles dozens of programs
    def create(seed, weights):
        model = models.make(
            config,
            weights=weights,
            input_shapes=experiment.input_shapes,
            num_classes=len(experiment.classes),
            rngs=nnx.Rngs(jax.random.key(seed)),
        )
        centers = None
        if config.train.center_weight:
            batch = example_batch(experiment.input_shapes)
            model.eval()  # needs no dropout keys
            width = jax.eval_shape(model.embed, batch).shape[-1]
            centers = jnp.zeros((len(experiment.classes), width))
        optimizer = optim.make_optimizer(config.train, config.encoder)
        averaged = config.train.ema_decay > 0
        graphdef, state = state_lib.create(model, optimizer, centers, averaged=averaged)
        return graphdef, state, nnx.state(model, models.Pretrained)

    states = []
    for seed in experiment.constants.seed:
        graphdef, state, shared = create(seed, weights)
        states.append(jax.device_get(state))
    return graphdef, jax.tree.map(lambda *x: np.stack(x), *states), shared


def _warn(whole: store.Store) -> None:
    for name in whole.lost:
        _log.warning("every recording of %s is left out", name)
    for ids in whole.near_duplicates[:3]:
        _log.warning("probably one take: %s", ", ".join(ids))
    if (more := len(whole.near_duplicates) - 3) > 0:
        _log.warning("... and %d more such groups, see results.json", more)


def _merge_spellings(whole: store.Store, data):
    found = spellings.find(whole.utterances, data)
    utterances = spellings.merge(whole.utterances, found, data)
    return dataclasses.replace(whole, utterances=utterances), found


def _warn_of_dropped(counts: list[dict]) -> None:
    """Says which labels are left out, corpus by corpus."""
    used = {(row["corpus"], row["label"]) for row in counts if row["used_as"]}
    dropped = collections.defaultdict(list)
    for row in counts:
        if (row["corpus"], row["label"]) not in used:
            dropped[row["corpus"]].append(f"{row['label']} {row['count']}")
    for name, labels in dropped.items():
        _log.info("Labels left out%s: %s", name and f" of {name}", ", ".join(labels))


def _usable(whole: store.Store, duplicate_ids, config):
    """What is used: of a class, not left out as a duplicate, and long enough.

    (Corpus, labels, classes, all that is left out, which label became which class.)
    """
    utterances, data = whole.utterances, config.data
    classes, labels, unused = assign_classes(utterances, data, config.protocol)
    counts = count_labels(utterances, classes, labels)
    _warn_of_dropped(counts)
    labels, repeated = duplicates.leave_out(
        utterances, labels, duplicate_ids, data.duplicates
    )
    keep, dropped = _long_enough(whole, labels, config)
    if absent := [x for k, x in enumerate(classes) if k not in labels[keep]]:
        raise InputError(
            f"Expected utterances of every class; got none of {', '.join(absent)} but "
            f"{len(repeated)} that have duplicates and {len(dropped)} shorter than a "
            "window. Set --config.data.duplicates=ignore or --config.segment.short=pad."
        )
    corpus = whole.take(np.flatnonzero(keep))
    excluded = (*whole.excluded, *unused, *repeated, *dropped)
    return corpus, labels[keep].astype(np.int32), classes, excluded, counts


def _long_enough(whole: store.Store, labels: np.ndarray, config):
    """(bool [U], what is left out of the labelled ones for being short.)"""
    keep = labels >= 0
    dropped = []
    if config.segment.short == "drop":
        segment = config.segment
        cut = segments.cut(
            whole.num_samples, whole.spec, segment, step_s=segment.test_step_s
        )
        long = np.isin(np.arange(len(labels)), cut.utterance)
        for u in np.flatnonzero(keep & ~long):
            seconds = whole.num_samples[u] / whole.spec.sample_rate_hz
            detail = f"expected more than {segment.window_s} s, got {seconds:.2f} s"
            id_ = whole.utterances[u].id
            dropped.append(Exclusion(id_, "shorter than a window", detail))
        keep &= long
    return keep, dropped


def _cut_runs(corpus: store.Store, labels, classes, folds, config):
    """Cuts the whole corpus for training and for testing, then deals to the folds."""
    segment, spec = config.segment, corpus.spec
    # Utterances whose class slides in training although the rule does not.
    dense_classes = classes_called(segment.dense_classes, classes)
    dense = np.flatnonzero(np.isin(np.array(classes)[labels], dense_classes))
    train = segments.cut(
        corpus.num_samples, spec, segment, step_s=segment.train_step_s, dense=dense
    )
    test = segments.cut(corpus.num_samples, spec, segment, step_s=segment.test_step_s)
    corpora = [corpus_of(utterance) for utterance in corpus.utterances]
    strata = batches.strata_of(config.train.sampling, labels, corpora)
    chooses = {"val": "val", "last": "val", "test": "test"}[config.protocol.selection]
    runs = tuple(
        Run(
            fold=fold,
            train=train.take(fold.train),
            select=test.take(getattr(fold, chooses)),
            test=test.take(fold.test),
            strata=None if strata is None else strata[train.take(fold.train).utterance],
        )
        for fold in folds
    )
    return runs, test


def _sizes(corpus: store.Store, segment) -> tuple[int, ...]:
    """Frames to which segments are padded: one size, or the buckets of `whole`."""
    full = segments.window_frames(corpus.spec, segment.window_s)
    if segment.rule != "whole":
        return (full,)
    lengths = np.minimum(full, corpus.num_frames)
    return segments.bucket_sizes(lengths, full, segment.buckets)


def _own_statistics(corpus: store.Store, normalize_by: str) -> dict:
    """The fields of `Tables` for `data.normalize`; {} where it is by the fold."""
    if normalize_by not in normalize.BY_OWNER:
        return {}
    by_corpus = normalize_by == "corpus"
    owners = [corpus_of(u) if by_corpus else u.speaker for u in corpus.utterances]
    mean, std, owner = normalize.owner_statistics(corpus.frames, owners)
    return {"owner": owner, "owner_mean": mean, "owner_std": std}


def _constants(corpus, frames, runs, labels, sizes, config) -> Constants:
    num_classes, rows = int(labels.max()) + 1, []
    statistics = _statistics(corpus, runs, sizes, config)
    for run, (mean, std) in zip(runs, statistics, strict=True):
        weight = np.ones(num_classes, np.float32)
        if config.train.class_weights == "balanced":
            trained = labels[run.train.utterance]
            weight = losses.balanced_class_weights(trained, num_classes)
        order = batches.training_order(
            run, frames, labels, config, epoch=0, sizes=sizes
        )
        steps = np.int32(sum(len(index.start) for index in order))
        seed = np.random.SeedSequence([run.fold.seed, run.key]).generate_state(1)[0]
        rows.append(Constants(mean, std, weight, steps, np.uint32(seed)))
    return jax.tree.map(lambda *x: np.stack(x), *rows)


def _statistics(corpus, runs, sizes, config) -> list[tuple[np.ndarray, np.ndarray]]:
    """Per run mean and std of its fold's training part."""
    if config.data.normalize == "none":
        shape = corpus.flat.shape[1:]
        return [(np.zeros(shape, np.float32), np.ones(shape, np.float32))] * len(runs)
    if config.data.pad == "before_norm":
        padded = functools.partial(normalize.padded_statistics, corpus.frames)
        return [padded(run.train, sizes[-1]) for run in runs]
    return normalize.fold_statistics(corpus.frames, [run.fold.train for run in runs])
