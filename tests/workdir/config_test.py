"""Configs that come back from a workdir."""

import json

from configs import acrnn, area_attn
from ser_jax.workdir import config as stored


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
