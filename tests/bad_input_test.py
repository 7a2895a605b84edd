"""Bad recordings and bad manifests, through the whole main path."""

import csv
import dataclasses
import json
import os
import shutil
import types

import numpy as np
import pytest
import soundfile

from ser_jax.data import batches
from ser_jax.datasets import build, store
from ser_jax.errors import InputError
from ser_jax.report import report
from ser_jax.training import experiment as experiment_lib
from ser_jax.training import loop, selection
from tests import conftest


def _rows(manifest):
    with manifest.open(newline="") as file:
        return list(csv.DictReader(file))


def _rewrite(manifest, rows):
    with manifest.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


@pytest.fixture
def corpus(tmp_path):
    folder = tmp_path / "corpus"
    folder.mkdir()
    return conftest.write_tones(folder, per_cell=2, seed=1)


@pytest.fixture
def config(quick_config, corpus, tmp_path):
    quick_config.data.manifest = str(corpus)
    quick_config.data.tfds_dir = str(tmp_path / "tfds")
    quick_config.data.vtlp_copies = 0
    quick_config.augment.vtlp = "none"
    quick_config.train.epochs = 1
    return quick_config


def _spoil(folder, rows):
    """One recording of each kind of damage; returns the reason by id."""
    noise = np.random.default_rng(0).uniform(-0.5, 0.5, 8000)
    names = [row["path"] for row in rows[:9]]
    (folder / names[0]).write_bytes(b"")
    whole = (folder / names[1]).read_bytes()
    (folder / names[1]).write_bytes(whole[: len(whole) // 2])
    broken = noise.copy()
    broken[17] = np.nan
    soundfile.write(folder / names[2], broken, 16_000, subtype="FLOAT")
    soundfile.write(folder / names[3], noise[:480], 16_000)
    (folder / names[4]).unlink()
    soundfile.write(folder / names[5], noise[:4000], 8_000)  # usable: resampled
    huge = noise.copy()
    huge[17] = 1e25
    soundfile.write(folder / names[6], huge, 16_000, subtype="FLOAT")
    soundfile.write(folder / names[7], 0 * noise, 16_000)
    soundfile.write(folder / names[8], 0 * noise + 0.3, 16_000)
    del names[5]
    ids = [name.removesuffix(".wav") for name in names]
    ids[4] = names[4]  # a file that is not there goes by its path
    reasons = (
        "empty audio",
        "truncated audio",
        "non-finite samples",
        "too short",
        "missing wav",
        "unusable samples",
        "silent audio",
        "constant audio",
    )
    return dict(zip(ids, reasons, strict=True))


def test_bad_recordings_are_left_out_counted_and_listed(config, corpus, tmp_path):
    expected = _spoil(corpus.parent, _rows(corpus))
    results = loop.train_and_evaluate(config, str(tmp_path / "w"))
    found = json.loads((tmp_path / "w" / "results.json").read_text())["utterances"]
    assert {e["id"]: e["reason"] for e in found["excluded"]} == expected
    assert found["skipped"] == dict.fromkeys(expected.values(), 1)
    assert all(e["detail"] for e in found["excluded"])
    assert found["resampled"] == 1
    total = len(_rows(corpus))
    assert found["used"] == total - 8 == np.sum(results["pooled"]["confusion"])


def test_labels_outside_the_map_are_listed_never_guessed(config, corpus):
    config.data.label_map = {"low": "calm", "high": "excited"}
    found = experiment_lib.prepare(config)
    assert found.classes == ("calm", "excited")
    left_out = [e for e in found.excluded if e.reason == "unmapped label"]
    mids = [row for row in _rows(corpus) if row["emotion"] == "mid"]
    assert len(left_out) == len(mids) and all("mid" in e.detail for e in left_out)


def test_a_map_with_a_label_that_does_not_occur(config):
    config.data.label_map = {"lo": "calm", "high": "excited"}
    with pytest.raises(InputError, match="lo"):
        experiment_lib.prepare(config)


def test_a_missing_column_is_named(config, corpus):
    rows = [{"path": r["path"], "emotion": r["emotion"]} for r in _rows(corpus)]
    _rewrite(corpus, rows)
    with pytest.raises(InputError, match="speaker"):
        experiment_lib.prepare(config)


def test_a_path_outside_the_folder_and_a_duplicate_id_are_left_out(config, corpus):
    rows = _rows(corpus)
    soundfile.write(corpus.parent.parent / "out.wav", np.zeros(8000), 16_000)
    rows += [rows[0], rows[1] | {"path": "../out.wav"}]
    _rewrite(corpus, rows)
    found = experiment_lib.prepare(config)
    reasons = sorted(e.reason for e in found.excluded)
    assert reasons == ["duplicate id", "path outside the folder"]


def test_nothing_left_after_filtering(config):
    config.data.label_map = {"low": "calm"}
    with pytest.raises(InputError):
        experiment_lib.prepare(config)


def test_a_fold_whose_training_part_lacks_a_class(config, corpus):
    rows = [
        row
        for row in _rows(corpus)
        if row["emotion"] != "high" or row["speaker"] == "s1"
    ]
    _rewrite(corpus, rows)
    with pytest.raises(InputError, match="s1.*high|high.*s1|s1.*class"):
        experiment_lib.prepare(config)


def test_all_recordings_bad(config, corpus):
    for row in _rows(corpus):
        (corpus.parent / row["path"]).write_bytes(b"")
    with pytest.raises(InputError):
        experiment_lib.prepare(config)


def test_unknown_names_are_refused_before_anything_is_built(config, tmp_path):
    for group, key in (("protocol", "split"), ("augment", "vtlp")):
        with config.unlocked():
            saved = config[group][key]
            config[group][key] = "nonsense"
        with pytest.raises(InputError, match="nonsense"):
            loop.train_and_evaluate(config, str(tmp_path / "w"))
        config[group][key] = saved
    assert not (tmp_path / "tfds").exists() and not (tmp_path / "w").exists()


def test_an_unknown_model_option_is_an_input_error(tiny_config, tmp_path):
    tiny_config.model.layout = "grid3d"
    with pytest.raises(InputError, match="grid2d"):
        loop.train_and_evaluate(tiny_config, str(tmp_path / "w"))


def test_a_recording_replaced_by_one_as_long_is_another_dataset(config, corpus):
    first = store.load(build.ensure_built(config.data))
    assert build.ensure_built(config.data) == first.directory
    path = corpus.parent / _rows(corpus)[0]["path"]
    samples, rate_hz = soundfile.read(path, dtype="int16")
    before = path.stat()
    soundfile.write(path, samples[::-1], rate_hz)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert path.stat().st_size == before.st_size
    second = store.load(build.ensure_built(config.data))
    same = [
        np.array_equal(*frames)
        for frames in zip(first.frames, second.frames, strict=True)
    ]
    ids = [u.id for u in second.utterances]
    assert [x for x, y in zip(ids, same, strict=True) if not y] == [path.stem]


def test_a_class_whose_recordings_contradict_each_other_is_named(config, corpus):
    rows = _rows(corpus)
    high = [row for row in rows if row["emotion"] == "high"]
    rows += [row | {"id": f"x{n}", "emotion": "low"} for n, row in enumerate(high)]
    rows = [row | {"id": row.get("id") or row["path"]} for row in rows]
    _rewrite(corpus, [dict(sorted(row.items())) for row in rows])
    with pytest.raises(InputError, match="none of high but .* that have duplicates"):
        experiment_lib.prepare(config)


@pytest.mark.parametrize("value", [5, "abc", (("neu",),), {"low": None}])
@pytest.mark.parametrize("merge", [False, True])
def test_a_label_map_of_another_type_is_refused(config, corpus, value, merge):
    rows = _rows(corpus)
    _rewrite(corpus, [rows[0] | {"emotion": "LOW"}, *rows[1:]])
    with config.unlocked():
        config.data.label_map, config.data.merge_spellings = value, merge
    with pytest.raises(InputError, match=r"data\.label_map: expected None, a mapping"):
        experiment_lib.prepare(config)


def test_copies_of_a_recording_are_listed_and_no_promise_is_broken(
    config, corpus, tmp_path
):
    rows = _rows(corpus)
    row = next(row for row in rows if row["speaker"] == "s1")
    other = next(
        r for r in rows if r["speaker"] == "s2" and r["emotion"] != row["emotion"]
    )
    for source, name, speaker in (
        (row, "copy.wav", "s2"),
        (other, "other.wav", "s2"),
    ):
        shutil.copy(corpus.parent / source["path"], corpus.parent / name)
        rows.append(row | {"path": name, "speaker": speaker})
    rows[-3]["speaker"] = rows[-3]["speaker"].upper()
    _rewrite(corpus, rows)
    results = loop.train_and_evaluate(config, str(tmp_path / "w"))
    counts = results["utterances"]
    stem, two = (x["path"].removesuffix(".wav") for x in (row, other))
    assert counts["duplicates"] == [["copy", stem], sorted(["other", two])]
    assert counts["skipped"] == {"two labels for one recording": 2}
    (found,) = counts["spellings"]
    assert found["column"] == "speaker" and min(found["counts"].values()) == 1
    assert any(
        "no recording is in two parts" in x for x in results["protocol"]["promises"]
    )
    folds = json.loads((tmp_path / "w" / "splits.json").read_text())["folds"]
    tested = [fold for fold in folds if {"copy", stem} & {*fold["test"]}]
    assert tested
    for fold in tested:
        assert not {"copy", stem} & {*fold["train"], *fold["val"]}
    page = report.write_report(tmp_path / "w")
    assert "Duplicates: 2" in (tmp_path / "w" / "report.md").read_text(), page


def test_a_class_without_a_usable_recording_is_named(config, corpus, caplog):
    for row in _rows(corpus):
        if row["emotion"] == "high":
            path = corpus.parent / row["path"]
            soundfile.write(path, np.zeros(8000), 16_000)
    assert experiment_lib.prepare(config).classes == ("low", "mid")
    assert "every recording of emotion high is left out" in caplog.text


@pytest.mark.parametrize("key", ["word_vectors", "speaker_embeddings"])
def test_vectors_that_no_file_should_hold_are_named(key):
    table = np.zeros((3, 2), np.float32)
    table[1, 1] = 1e30
    tables = batches.Tables(**{key: table})
    with pytest.raises(InputError, match=rf"data\.{key}: expected .*; got 1e\+30"):
        selection._check_features(types.SimpleNamespace(tables=tables))


@pytest.mark.parametrize("cause", ["data", "learning rate"])
def test_a_nan_names_the_recording_if_that_is_the_cause(
    config, corpus, tmp_path, monkeypatch, cause
):
    original = store.load

    def spoiled(*args, **kwargs):
        loaded = original(*args, **kwargs)
        flat = np.array(loaded.flat)
        flat[loaded.first[3] + 1, 2] = np.nan
        return dataclasses.replace(loaded, flat=flat)

    words = "losses and gradients.*Lower train.learning_rate"
    if cause == "data":
        monkeypatch.setattr(store, "load", spoiled)
        words = r"finite features; got NaN or Inf in those of s1_low_1 \(.*s1_low_1.wav"
    else:
        config.train.learning_rate = 1e38
        config.train.grad_clip_norm = 0.0
    with pytest.raises(InputError, match=words):
        loop.train_and_evaluate(config, str(tmp_path / "w"))
