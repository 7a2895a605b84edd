"""Lets a bare `tfds build` in this folder find the dataset `iemocap`.

Without an argument the command looks for a module with the folder's name.
"""

from tfds_iemocap import iemocap_dataset_builder


class Iemocap(iemocap_dataset_builder.Builder, skip_registration=True):
    """The same builder under the same name."""
