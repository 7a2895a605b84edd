"""Workdirs that can be loaded, and the messages about those that cannot."""

import json
import pickle
import re
import shutil

import numpy as np
import pytest

from ser_jax.errors import InputError
from ser_jax.predict import trained_model


@pytest.fixture
def copy(workdirs, tmp_path):
    """A workdir that may be damaged."""
    shutil.copytree(workdirs("area_attn"), tmp_path / "w")
    return tmp_path / "w"


def _edit_meta(workdir, change):
    """Changes the JSON of every checkpoint."""
    files = list(workdir.glob("checkpoints/*/meta/metadata"))
    assert files
    for file in files:
        meta = json.loads(file.read_text())
        change(meta)
        file.write_text(json.dumps(meta))


def test_nothing_but_the_checkpoint_is_needed(workdirs, copy):
    whole = trained_model.load(workdirs("area_attn"))
    for path in copy.iterdir():
        if path.name != "checkpoints":
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    alone = trained_model.load(copy)
    assert alone.runs == whole.runs and alone.classes == ("high", "low", "mid")
    assert alone.provenance["pooled_ua"] is None and whole.provenance["pooled_ua"] > 0
    np.testing.assert_array_equal(alone.mean, whole.mean)


def test_loading_never_unpickles(workdirs, monkeypatch):
    def refuse(*_, **__):
        raise AssertionError("unpickled")

    for name in ("load", "loads", "Unpickler"):
        monkeypatch.setattr(pickle, name, refuse)
    monkeypatch.setattr(np, "load", refuse)
    assert trained_model.load(workdirs("area_attn")).runs


def test_one_run_of_the_whole(workdirs):
    whole = trained_model.load(workdirs("area_attn"))
    fold, seed = whole.runs[1]
    one = trained_model.load(workdirs("area_attn"), f"{fold},{seed}")
    assert one.runs == ((fold, seed),) and one.folds[0]["name"] == fold
    np.testing.assert_array_equal(one.mean[0], whole.mean[1])
    for run in ("nobody,0", f"{fold},7", fold, f"{fold},x"):
        with pytest.raises(InputError, match="--run: expected"):
            trained_model.load(workdirs("area_attn"), run)


def test_a_newer_version_is_named(copy):
    _edit_meta(copy, lambda meta: meta.update(format=99))
    with pytest.raises(InputError, match="99, of a newer version. Update"):
        trained_model.load(copy)


def test_an_unfinished_training_says_so(copy):
    def stop(meta):
        meta["config"]["train"]["epochs"] = 7
        meta["records"][0]["active"] = True

    assert trained_model.load(copy).provenance["stamps"] == []
    _edit_meta(copy, stop)
    description = trained_model.load(copy).description()
    assert "[unfinished training: 2 of 7 epochs]" in description
    _edit_meta(copy, lambda meta: meta["config"]["train"].update(updates=900))
    description = trained_model.load(copy).description()
    assert re.search(r"\[unfinished training: \d\d of 900 updates\]", description)


def test_without_a_validation_there_is_no_answer(copy):
    _edit_meta(copy, lambda meta: meta["records"][1].update(best_update=0))
    with pytest.raises(InputError, match="one validation"):
        trained_model.load(copy)


def test_other_classes_do_not_fit_the_weights(copy):
    _edit_meta(copy, lambda meta: meta["classes"].append("bored"))
    with pytest.raises(InputError, match="Expected the array best/params.*classes"):
        trained_model.load(copy)


def test_an_unknown_model_may_be_newer(copy):
    _edit_meta(copy, lambda meta: meta["config"]["model"].update(name="conformer"))
    with pytest.raises(InputError, match="'conformer'.*update ser_jax"):
        trained_model.load(copy)


def test_a_missing_key_is_one_line(copy):
    _edit_meta(copy, lambda meta: meta["config"]["data"].pop("channels"))
    with pytest.raises(InputError, match="does not fit.*channels") as error:
        trained_model.load(copy)
    assert "\n" not in str(error.value)


def test_a_foreign_checkpoint_is_named(copy):
    _edit_meta(copy, lambda meta: meta.clear() or meta.update(step=3))
    with pytest.raises(InputError, match="another program"):
        trained_model.load(copy)


def test_missing_files_are_one_line(copy, tmp_path):
    for folder in copy.glob("checkpoints/*/arrays"):
        shutil.rmtree(folder)
    with pytest.raises(InputError, match="none of .* is ") as error:
        trained_model.load(copy)
    assert "\n" not in str(error.value)
    with pytest.raises(InputError, match="there are none"):
        trained_model.load(tmp_path)


def test_a_torn_checkpoint_yields_to_the_one_before(copy):
    steps = sorted((copy / "checkpoints").glob("[0-9]*"), key=lambda p: int(p.name))
    if len(steps) < 2:
        shutil.copytree(steps[0], steps[0].with_name("99"))
        steps = sorted((copy / "checkpoints").glob("[0-9]*"), key=lambda p: int(p.name))
    whole = trained_model.load(copy)
    shutil.rmtree(steps[-1] / "arrays")
    np.testing.assert_array_equal(trained_model.load(copy).std, whole.std)
