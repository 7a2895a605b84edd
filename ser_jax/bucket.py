"""Folders in a bucket: `gs://` by gcsfs, `s3://` by s3fs.

An object appears whole when its upload ends, or not at all. There are no folders, no
renames and no appending, so files that belong together count once the last one is there.
"""

import contextlib
import errno
import functools
import importlib.util
import os
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from ser_jax.errors import InputError, first_line, writing

# Else etils asks TensorFlow where there is one: it knows `gs://` only, and has
# credentials of its own.
os.environ.setdefault("EPATH_USE_TF", "0")
# Else gcsfs asks by gRPC, before every request, what kind of bucket it is: minutes where
# that does not get through, and no limit below holds for it.
os.environ.setdefault("GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT", "false")

_PACKAGES = {"gs": "gcsfs", "s3": "s3fs"}
_CREDENTIALS = {
    "gs": "`gcloud auth application-default login` or GOOGLE_APPLICATION_CREDENTIALS",
    "s3": "AWS_PROFILE or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY",
}
# What the clients raise beside OSErrors is of these modules, or of modules below them.
# `google` alone would be protobuf as well, which reads local records.
_GOOGLE = ("google.api_core", "google.auth", "google.cloud", "google.resumable_media")
_CLIENTS = ("aiobotocore", "aiohttp", "botocore", "gcsfs", "requests", "s3fs", *_GOOGLE)
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)  # a local disk, never a bucket
_REFUSALS = ("credentials", "permission", "forbidden", "refresherror", "autherror")
_AT_ONCE = 8  # files on their way
# gcsfs would wait for ever. Silence after a request has gone out has it sent again; a
# request of up to 50 MB may take longer to go out.
_SILENCE_S, _REQUEST_S = 60, 300


def is_remote(path) -> bool:
    """Whether a path lies in a bucket."""
    return "://" in str(path)


def prepare() -> None:
    """Sets how fsspec, through whatever library, goes to buckets; asks nobody."""
    import fsspec

    for scheme in _PACKAGES:
        options = fsspec.config.conf.setdefault(scheme, {})
        # Kept lists of folders would miss what other machines write.
        options.setdefault("use_listings_cache", False)
    if importlib.util.find_spec("gcsfs"):  # s3fs has limits of its own
        from aiohttp import ClientTimeout

        limits = ClientTimeout(
            _REQUEST_S, sock_connect=_SILENCE_S, sock_read=_SILENCE_S
        )
        fsspec.config.conf["gs"].setdefault("requests_timeout", limits)


@functools.cache
def file_system(scheme: str):
    """The fsspec file system of `gs` or `s3`.

    Raises InputError if its package is missing.
    """
    package = _PACKAGES.get(scheme)
    if package is None:
        raise InputError(
            f"expected a folder, gs://BUCKET/... or s3://BUCKET/..., got {scheme}://"
        )
    if importlib.util.find_spec(package) is None:
        raise InputError(
            f"{scheme}://: expected the extra `bucket`, got an installation without "
            f"{package}. Run `pip install -e '.[bucket]'`."
        )
    import fsspec

    prepare()
    return fsspec.filesystem(scheme)


@functools.cache
def connect(path: str) -> None:
    """Checks, once for each path, that its bucket is there and may be listed.

    A local path is left alone. Raises InputError: the bucket, the credentials or the
    package are missing.
    """
    if not is_remote(path):
        return
    scheme, _, rest = path.partition("://")
    fs, name = file_system(scheme), rest.partition("/")[0]
    with faults(path):
        try:
            fs.info(name)
        except FileNotFoundError as error:
            raise InputError(
                f"expected the bucket {scheme}://{name}, got none of that name that "
                "these credentials may see; check the name, or make it"
            ) from error


@contextlib.contextmanager
def faults(path="the bucket") -> Iterator[None]:
    """Turns what a bucket's client raises into one line for people.

    OSErrors that say which file is missing pass: they may be a local file's. So do those
    of a full local disk.
    """
    try:
        yield
    except InputError:
        raise
    except Exception as error:
        module = f"{type(error).__module__}."
        ours = module.startswith(tuple(f"{client}." for client in _CLIENTS))
        if isinstance(error, OSError):
            ours = (ours or is_remote(path)) and error.errno not in _FULL
        if not ours:
            raise
        raise InputError(_explain(path, error)) from error


def _explain(path, error: Exception) -> str:
    scheme = str(path).partition("://")[0]
    text = first_line(error)
    if type(error) is not OSError:
        text = f"{type(error).__name__}: {text}"
    codes = (getattr(error, "code", None), getattr(error, "status", None))
    if any(x in text.lower() for x in _REFUSALS) or {401, 403} & {*codes}:
        known = _CREDENTIALS.get(scheme) or " or ".join(_CREDENTIALS.values())
        return (
            f"cannot use {path}: {text}. Check the credentials ({known}) and that they "
            "may list, read and write there."
        )
    return (
        f"cannot reach {path}: {text}. Check the bucket and the network, and repeat the "
        "command: what is complete stays."
    )


def write(path, content: bytes, *, only_new: bool = False) -> None:
    """Writes an object in one request, or in parts that count once all are there.

    Raises:
      FileExistsError: With `only_new`, if there is one, as the bucket itself decides.
      InputError: It cannot be written.
    """
    try:
        with faults(path):
            mode = {"mode": "create"} if only_new else {}
            _fs(path).pipe_file(str(path), content, **mode)
    except InputError as error:
        if isinstance(error.__cause__, FileExistsError):
            raise error.__cause__ from None
        raise


def read(path) -> bytes | None:
    """An object as the bucket has it now; None if it is absent.

    Raises InputError if the bucket cannot be read.
    """
    with faults(path):
        try:
            return _fs(path).cat_file(str(path))
        except FileNotFoundError:
            return None


def delete(folder, first: str = "") -> None:
    """Deletes all below `folder`, the object `first` before the others."""
    with faults(folder):
        for path in (f"{folder}/{first}",) * bool(first) + (str(folder),):
            with contextlib.suppress(FileNotFoundError):
                _fs(folder).rm(path, recursive=True)


def upload(files: Iterable[Path], root: Path, remote: str, last: str) -> None:
    """Copies files below `root` to `remote`, with a progress bar.

    `last`, one of their names, goes when all others are there: whoever sees it finds a
    whole folder. Raises InputError if one cannot be copied.
    """
    sizes = {file.relative_to(root).as_posix(): file.stat().st_size for file in files}
    fs = _fs(remote)

    def put(name: str, callback) -> None:
        fs.put_file(str(root / name), f"{remote}/{name}", callback=callback)

    first = {name: size for name, size in sizes.items() if name != last}
    with faults(remote):
        _transfer(first, put, f"To {remote}")
        _transfer({last: sizes[last]}, put, "")


@contextlib.contextmanager
def written_locally(folder) -> Iterator[str]:
    """`folder`, or in place of one in a bucket a local one, which is copied there."""
    if not is_remote(folder):
        yield str(folder)
        return
    with tempfile.TemporaryDirectory(prefix="ser_jax_") as place:
        yield place
        upload_all(Path(place), str(folder))


def upload_all(root: Path, remote: str) -> None:
    """`upload` of all files below `root`, which do not depend on one another."""
    files = sorted(path for path in root.rglob("*") if path.is_file())
    if files:
        upload(files, root, remote, last=files[-1].relative_to(root).as_posix())


def download(
    remote: str,
    folder: Path,
    *,
    below: bool = False,
    check: Callable[[Path], None] = lambda unfinished: None,
) -> None:
    """Copies the objects right in `remote`, or all `below` it, into the new `folder`.

    It appears by one rename when all are there in full length and `check` of the
    unfinished folder did not raise; what an interrupted download left is thrown away.
    Raises InputError if the bucket cannot be read, or the disk is full.
    """
    unfinished = folder.with_name(f"{folder.name}.incomplete")
    shutil.rmtree(unfinished, ignore_errors=True)
    fs, depth = _fs(remote), None if below else 1
    prefix = remote.partition("://")[2].rstrip("/") + "/"

    def get(name: str, callback) -> None:
        target = unfinished / name
        target.parent.mkdir(parents=True, exist_ok=True)
        fs.get_file(prefix + name, str(target), callback=callback)
        if (got := target.stat().st_size) != sizes[name]:
            raise OSError(f"{name} has {got} bytes, expected {sizes[name]}")

    try:
        with writing(folder), faults(remote):
            found = fs.find(prefix, maxdepth=depth, detail=True)
            sizes = {k.removeprefix(prefix): v["size"] for k, v in found.items()}
            _transfer(sizes, get, f"From {remote}")
        check(unfinished)
        shutil.rmtree(folder, ignore_errors=True)
        unfinished.rename(folder)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


def _transfer(sizes: dict[str, int], copy, title: str) -> None:
    """`copy(name, callback)` of every file, several at once."""
    from fsspec.callbacks import Callback
    from tqdm import tqdm

    options = {"unit": "B", "unit_scale": True, "delay": 2, "leave": False}
    bar = tqdm(desc=title, total=sum(sizes.values()), disable=not title, **options)

    class Progress(Callback):
        done = 0

        def absolute_update(self, value: int) -> None:
            self.relative_update(value - self.done)

        def relative_update(self, inc: int = 1) -> None:
            self.done += inc
            bar.update(inc)

    with bar, ThreadPoolExecutor(_AT_ONCE) as pool:
        for _ in pool.map(lambda name: copy(name, Progress()), sizes):
            pass


def _fs(path):
    return file_system(str(path).partition("://")[0])
