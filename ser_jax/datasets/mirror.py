"""A folder of datasets in a bucket, and its copy on the local disk.

TFDS's readers and the frame cache map local files. So a dataset is built here and copied
to the bucket, or copied from there once, in whole files: nothing is read in pieces. In
the bucket it counts once `dataset_info.json` is there, which goes last.
"""

from collections.abc import Callable
from pathlib import Path

from ser_jax import bucket, user_cache
from ser_jax.errors import InputError

_INFO = "dataset_info.json"


def local_folder(folder: str, cache_dir: str) -> str:
    """Where datasets of `folder` lie here: itself, or below `cache_dir` its copy.

    Without `cache_dir` that is in the user's cache.

    Raises InputError if `cache_dir` is in a bucket.
    """
    if bucket.is_remote(cache_dir):
        raise InputError(
            f"data.cache_dir: expected a local folder, whose files are mapped; got "
            f"{cache_dir}"
        )
    if not bucket.is_remote(folder):
        return folder
    root = Path(cache_dir).expanduser() if cache_dir else user_cache.folder("")
    scheme, _, name = folder.partition("://")
    return str(root / "buckets" / scheme / name.strip("/"))


def settle(remote: str, local: Path, build: Callable[[], None]) -> None:
    """Makes the dataset `local` the one in `remote`, which `build` makes if need be.

    The caller holds its lock. Two machines may build the same dataset at the same time:
    its name says what is in it, so either copy serves.

    Raises:
      InputError: The bucket cannot be used, or has a part of a dataset only.
    """
    bucket.connect(remote)
    published = bucket.read(f"{remote}/{_INFO}")
    if published is None:
        if not local.exists():
            build()
        # Below it lie caches, which are made again anywhere.
        files = (path for path in local.iterdir() if path.is_file())
        visible = sorted(path for path in files if not path.name.startswith("."))
        bucket.upload(visible, local, remote, last=_INFO)
    elif not local.exists() or (local / _INFO).read_bytes() != published:
        bucket.download(remote, local, check=lambda folder: _check(folder, remote))


def _check(folder: Path, remote: str) -> None:
    """Raises InputError unless all files that its info tells of are there.

    TFDS itself copies the info of a dataset in a bucket when it likes.
    """
    import tensorflow_datasets as tfds  # half a second

    splits = tfds.builder_from_directory(folder).info.splits.values()
    files = (Path(path) for split in splits for path in split.filepaths)
    if missing := [path.name for path in files if not path.exists()]:
        raise InputError(
            f"expected a whole dataset in {remote}, got none of {', '.join(missing)}. "
            "If nobody writes it now, delete that folder and repeat the command."
        )
