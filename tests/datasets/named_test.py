"""A corpus by its name is the dataset that its manifest gives."""

import csv
import os
from pathlib import Path

import numpy as np
import pytest

from configs import base
from ser_jax.datasets import build, store

EMODB = Path(__file__).parents[3] / "shared/data/emodb"
FIELDS = ("id", "emotion", "speaker", "gender", "text")


def data_for(tmp_path, **changes):
    data = base.get_config().data
    data.update(
        tfds_dir=str(tmp_path), file_format="array_record", vtlp_copies=1, **changes
    )
    return data


@pytest.mark.skipif(not EMODB.is_dir(), reason=f"EMO-DB is not at {EMODB}")
def test_emodb_by_name_is_emodb_by_its_manifest(tmp_path):
    with (EMODB / "manifest.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))[::20]
    (tmp_path / "emodb" / "wav").mkdir(parents=True)
    listed = tmp_path / "emodb" / "listed.csv"
    with listed.open("w", newline="") as file:
        writer = csv.DictWriter(file, ["id", *rows[0]])
        writer.writeheader()
        for row in rows:
            os.symlink(EMODB / row["path"], tmp_path / "emodb" / row["path"])
            writer.writerow(row | {"id": Path(row["path"]).stem})
    by_name = data_for(tmp_path / "a", corpus="emodb", root=str(tmp_path / "emodb"))
    by_list = data_for(tmp_path / "b", corpus="manifest", manifest=str(listed))
    one, two = (store.load(build.ensure_built(data)) for data in (by_name, by_list))
    for a, b in zip(one.utterances, two.utterances, strict=True):
        assert [getattr(a, x) for x in FIELDS] == [getattr(b, x) for x in FIELDS]
    np.testing.assert_array_equal(one.flat, two.flat)
    assert one.sound_digests == two.sound_digests and len(one.utterances) == len(rows)
    assert build.ensure_built(by_name) == one.directory
