"""Configs that come back from a workdir."""

import json
import shlex

import pytest

from configs import acrnn, area_attn
from ser_jax.errors import InputError
from ser_jax.workdir import config as stored
from ser_jax.workdir.workdir import Workdir


def test_a_config_comes_back_and_another_machine_chooses_its_own_ways():
    config = area_attn.get_config("demo")
    config.model.attention_implementation = "pallas"  # where a GPU was
    config.data.num_workers = 7
    back = stored.as_config(json.loads(json.dumps(config.to_dict())))
    assert back.model.attention_implementation == "xla"
    assert back.data.num_workers == 0 and back.train.runs_per_device == "auto"
    assert back.model.max_area == config.model.max_area == (3, 3)


def test_configs_of_before_a_key_existed_are_read():
    old = json.loads(json.dumps(area_attn.get_config("demo").to_dict()))
    del old["model"]["attention_implementation"]
    assert stored.as_config(old).model.attention_implementation == "xla"
    other = json.loads(json.dumps(acrnn.get_config("demo").to_dict()))
    assert "attention_implementation" not in stored.as_config(other).model


def test_a_workdir_of_before_a_key_existed_goes_on_with_the_same_command():
    now = json.loads(json.dumps(area_attn.get_config("demo").to_dict()))
    old = json.loads(json.dumps(now))
    for key in ("keep_silent", "duplicates", "merge_spellings"):
        del old["data"][key]
    assert stored.differences(old, now) == []
    # As it was: copies were not looked for.
    assert stored.as_config(old).data.duplicates == "ignore"
    del old["data"]["level"], old["train"]["ema_decay"]
    old["segment"]["rule"] = "tile"  # which then padded the last segment
    changed = json.loads(json.dumps(now))
    changed["segment"]["rule"] = "tile"
    changed["train"]["ema_decay"] = 0.9
    changed["published"]["ua"] = 0.5
    rule, decay = stored.differences(old, changed)
    assert rule == "segment.rule: here 'tile_padded', asked for 'tile'"
    assert decay == "train.ema_decay: here 0.0, asked for 0.9"
    swept = now | {"sweep": [["train.epochs", [1, 2]]]}
    (line,) = stored.differences(swept, now)
    assert line == "sweep: here {'train.epochs': (1, 2)}, asked for None"
    changed = json.loads(json.dumps(now))
    changed["data"]["duplicates"] = "first"
    (line,) = stored.differences(now, changed)
    assert line == "data.duplicates: here 'apart', asked for 'first'"


def test_a_corpus_that_moved_is_all_that_a_resumed_config_changes(tmp_path):
    now = json.loads(json.dumps(area_attn.get_config("demo").to_dict()))
    old = json.loads(json.dumps(now))
    del old["data"]["duplicates"], old["data"]["keep_silent"]
    (tmp_path / "results.json").write_text("{}")  # something was trained
    (tmp_path / "config.json").write_text(json.dumps({"config": old}))
    now["data"]["root"] = "/moved"
    Workdir(tmp_path).claim(now)
    kept = json.loads((tmp_path / "config.json").read_text())["config"]
    assert kept == {**old, "data": old["data"] | {"root": "/moved"}}


def test_several_corpora_may_move_and_change_places_but_not_names(tmp_path):
    now = json.loads(json.dumps(area_attn.get_config("demo").to_dict()))
    now["data"] |= {"corpus": "multi", "corpora": [["a", "/a.csv"], ["b", "/b.csv"]]}
    old = json.loads(json.dumps(now))
    (tmp_path / "results.json").write_text("{}")  # something was trained
    (tmp_path / "config.json").write_text(json.dumps({"config": old}))
    now["data"]["corpora"] = [["b", "/moved.csv"], ["a", "/a.csv"]]
    Workdir(tmp_path).claim(now)
    # What reads the corpora again finds them where they are now.
    assert json.loads((tmp_path / "config.json").read_text())["config"] == now
    now["data"]["corpora"] = [["c", "/b.csv"], ["a", "/a.csv"]]
    with pytest.raises(InputError, match="data.corpora: here"):
        Workdir(tmp_path).claim(now)


def test_the_command_can_be_given_again(tmp_path, monkeypatch):
    given = [
        "run.py",
        "--config.data.corpora={'a': '/my corpora/a.csv'}",
        "--workdir=w",
    ]
    monkeypatch.setattr("sys.argv", given)
    Workdir(tmp_path).claim(json.loads(json.dumps(area_attn.get_config().to_dict())))
    stored_command = json.loads((tmp_path / "config.json").read_text())["command"]
    assert shlex.split(stored_command) == ["python", *given]
    assert stored_command.endswith(" --workdir=w")


def test_paths_are_found_from_everywhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    config = area_attn.get_config("demo")
    config.data.manifest, config.data.root = "a/../b.csv", "~/IEMOCAP"
    config.data.tfds_dir = "gs://bucket/datasets"
    whole = stored.with_absolute_paths(config).data
    assert whole.manifest == str(tmp_path / "b.csv")
    assert whole.root == str(tmp_path / "home" / "IEMOCAP")
    assert whole.tfds_dir == "gs://bucket/datasets" and not whole.cache_dir
    assert config.data.manifest == "a/../b.csv"  # a copy was changed
    (tmp_path / "glove.txt").touch()
    for name, path in (("glove.txt", str(tmp_path / "glove.txt")), ("spacy", "spacy")):
        config.data.word_vectors = name
        assert stored.with_absolute_paths(config).data.word_vectors == path
    now = stored.with_absolute_paths(config).to_dict()
    now["data"]["word_vectors"] = str(tmp_path / "glove.txt")
    old = {**now, "data": {**now["data"], "word_vectors": "glove.txt"}}
    assert stored.differences(old, now) == []


def test_a_corpus_that_moved_is_given_by_its_manifest_or_folder(tmp_path):
    config = area_attn.get_config("demo")
    config.data.corpus, config.data.manifest = "manifest", str(tmp_path / "m.csv")
    with pytest.raises(InputError, match=r"the corpus at .*m\.csv; .* set --data="):
        stored.with_corpus_at(config, "")
    (tmp_path / "new").mkdir()
    (tmp_path / "new" / "m.csv").touch()
    for place in ("new", "new/m.csv"):
        got = stored.with_corpus_at(config, str(tmp_path / place))
        assert got.data.manifest == str(tmp_path / "new" / "m.csv")
    config.data.corpus = "iemocap"
    assert stored.with_corpus_at(config, "/x").data.root == "/x"
    config.data.corpus = "demo"
    with pytest.raises(InputError, match="--data: expected none"):
        stored.with_corpus_at(config, "/x")


def test_names_that_libraries_cannot_write_are_refused():
    config = area_attn.get_config("demo")
    config.data.tfds_dir = "t\udce9"
    with pytest.raises(InputError, match="data.tfds_dir: expected a name in UTF-8"):
        stored.with_absolute_paths(config)
    with pytest.raises(InputError, match="--workdir: expected a name in UTF-8"):
        Workdir("w\udce9")
