"""recordings.csv: written, read, and refused."""

import pytest

from ser_jax.errors import InputError
from ser_jax.workdir import predictions
from ser_jax.workdir.predictions import Recording


def test_recordings_survive_a_round_trip(tmp_path):
    items = [Recording('a,"b"', 1.25, "/x/ü, y.wav"), Recording("c\nd", 0.125, "z")]
    predictions.write_recordings(tmp_path / "r.csv", items)
    assert list(predictions.read_recordings(tmp_path / "r.csv").values()) == items


def test_a_workdir_without_recordings_has_none(tmp_path):
    assert predictions.read_recordings(tmp_path / "recordings.csv") == {}


@pytest.mark.parametrize(
    "text", ["utterance,wav\na,b\n", "utterance,duration_s,wav\na,long,b\n"]
)
def test_damaged_recordings_are_an_input_error(tmp_path, text):
    (tmp_path / "r.csv").write_text(text)
    with pytest.raises(InputError, match=r"duration_s.*evaluate"):
        predictions.read_recordings(tmp_path / "r.csv")
