"""TFDS's own checks on the folder, the features and the splits."""

import pytest

pytest.importorskip("tensorflow")

import tensorflow_datasets as tfds

from tfds_iemocap import iemocap_dataset_builder


class IemocapTest(tfds.testing.DatasetBuilderTestCase):
    DATASET_CLASS = iemocap_dataset_builder.Builder
    BUILDER_CONFIG_NAMES_TO_TEST = ["logmel64_vtlp7", "logmel40_3d"]  # noqa: RUF012
    SPLITS = {f"session{n}": 2 for n in range(1, 6)}  # noqa: RUF012
