"""Reads weight files as NumPy arrays: without PyTorch, and without trusting them.

`.safetensors` needs the package `safetensors` (extra `transfer`). PyTorch's `.pth`
comes in two forms, a row of pickles (before version 1.6) and a ZIP archive; both hold a
pickle, which can call anything on earth. The unpickler here knows the few names that
plain weights need and refuses every other.
"""

import collections
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np

Arrays = dict[str, np.ndarray]

LEGACY_MAGIC = 0x1950A86A20F9469CFC6C
LEGACY_VERSION = 1001
STORAGES = {
    "FloatStorage": "<f4",
    "DoubleStorage": "<f8",
    "HalfStorage": "<f2",
    "LongStorage": "<i8",
    "IntStorage": "<i4",
}
_RECONSTRUCT = np.empty(0).__reduce__()[0]
NUMPY_NAMES = {
    ("numpy.core.multiarray", "_reconstruct"): _RECONSTRUCT,
    ("numpy._core.multiarray", "_reconstruct"): _RECONSTRUCT,
    ("numpy", "ndarray"): np.ndarray,
    ("numpy", "dtype"): np.dtype,
}


def read(path: str | Path) -> Arrays:
    """Reads a state dict: `.safetensors` by its suffix, else a `.pth` of either form.

    Args:
        path: a local file.

    Returns:
        Arrays by the names and in the layout that the file has (PyTorch's kernels are
        output x input x height x width).

    Raises:
        ValueError: if there is no such file, it is damaged or of another kind, it asks
            for anything that weights do not need, or its package is missing.
    """
    path = Path(path)
    if not path.is_file():
        raise ValueError(f"weights: expected a file, got {str(path)!r}")
    if path.suffix == ".safetensors":
        return _guarded(path, _read_safetensors)
    return _guarded(path, _read_zip if zipfile.is_zipfile(path) else _read_legacy)


def read_numpy_pickle(path: str | Path) -> dict:
    """Reads a pickled dictionary of NumPy arrays and plain containers of them.

    Raises:
        ValueError: as `read`.
    """

    def load(path: Path) -> dict:
        with path.open("rb") as file:
            found = RestrictedUnpickler(file, NUMPY_NAMES).load()
        return {str(name): x for name, x in found.items()}

    return _guarded(Path(path), load)


def _guarded(path: Path, load: Callable[[Path], dict]) -> dict:
    """What `load` reads; its complaints as ValueErrors that name the file."""
    try:
        return load(path)
    except OSError:
        raise
    except Exception as error:  # a damaged pickle can raise anything
        raise ValueError(
            f"weights: {path} cannot be read: {type(error).__name__}: {error}"
        ) from error


class RestrictedUnpickler(pickle.Unpickler):
    """Unpickles with a closed list of names; a pickle may call nothing else."""

    def __init__(self, file, names, storage: Callable[..., "Storage"] | None = None):
        """Makes an unpickler for one pickle.

        Args:
            file: open for reading, binary.
            names: (module, name) -> what the pickle gets for it.
            storage: makes a `Storage` of PyTorch's persistent id; None = there are none.
        """
        super().__init__(file)
        self.names, self.storage = names, storage

    def find_class(self, module: str, name: str):
        """The object of that name, if it is on the list."""
        if (module, name) not in self.names:
            raise pickle.UnpicklingError(
                f"refused: it asks for {module}.{name}, which weights do not need"
            )
        return self.names[module, name]

    def persistent_load(self, pid):
        """The storage a tensor lies in."""
        if self.storage is None or pid[0] != "storage":
            raise pickle.UnpicklingError("refused: a reference to something outside")
        return self.storage(*pid[1:])


class Storage:
    """Numbers that tensors are views of; they may be filled in after the views."""

    def __init__(self, dtype: str, count: int, limit: int):
        """Reserves the numbers.

        Args:
            dtype: one of STORAGES' values.
            count: how many numbers.
            limit: bytes that the file has; more cannot be in it.

        Raises:
            ValueError: for another dtype or an impossible count.
        """
        if dtype not in STORAGES.values():
            raise ValueError(f"a storage of {dtype!r}")
        self.dtype = np.dtype(dtype)
        if not 0 <= count * self.dtype.itemsize <= limit:
            raise ValueError(f"a storage of {count} numbers in {limit} bytes")
        self.values = np.zeros(count, self.dtype)

    def fill(self, data: bytes) -> None:
        """Sets the numbers.

        Raises:
            ValueError: if there are more or fewer.
        """
        if len(data) != self.values.nbytes:
            raise ValueError(f"a storage of {self.values.nbytes} bytes has {len(data)}")
        self.values[:] = np.frombuffer(data, self.dtype)

    def tensor(self, offset: int, size, stride) -> np.ndarray:
        """A view, checked to stay inside."""
        if len(size) != len(stride) or min((offset, *size, *stride)) < 0:
            raise ValueError(f"a tensor of size {size}, stride {stride}, at {offset}")
        if 0 in size:
            return np.zeros(size, self.dtype)
        reach = sum((n - 1) * s for n, s in zip(size, stride, strict=True))
        if offset + reach >= len(self.values):
            raise ValueError("a tensor reaches beyond its storage")
        return np.lib.stride_tricks.as_strided(
            self.values[offset:], size, [s * self.dtype.itemsize for s in stride]
        )


def _torch_names() -> dict:
    """What a state dict needs; made anew for every file, which might alter it."""

    def rebuild(storage, offset, size, stride, *_):
        return storage.tensor(offset, size, stride)

    return {
        ("collections", "OrderedDict"): collections.OrderedDict,
        ("torch._utils", "_rebuild_tensor"): rebuild,  # before PyTorch 0.4
        ("torch._utils", "_rebuild_tensor_v2"): rebuild,
        ("torch._utils", "_rebuild_parameter"): lambda tensor, *_: tensor,
        **{("torch", name): dtype for name, dtype in STORAGES.items()},
    }


def _state_dict(found) -> Arrays:
    """Copies of the arrays, after a look that they are."""
    named = found if isinstance(found, dict) else {type(found).__name__: found}
    other = [name for name, x in named.items() if not isinstance(x, np.ndarray)]
    if other:
        raise ValueError(
            f"expected a state dict: names with tensors, got also {other}; save "
            "model.state_dict() alone"
        )
    return {str(name): np.array(x) for name, x in named.items()}


def _read_legacy(path: Path) -> Arrays:
    """Pickles in a row: magic, version, system, state dict, keys; then the numbers."""
    limit, storages = path.stat().st_size, {}

    def storage(dtype, key, location, count, view=None):
        if view is not None:
            raise ValueError("a view of a storage, as PyTorch 0.1 wrote them")
        return storages.setdefault(key, Storage(dtype, count, limit))

    with path.open("rb") as file:

        def plain():
            return RestrictedUnpickler(file, {}).load()

        if plain() != LEGACY_MAGIC or plain() != LEGACY_VERSION:
            raise ValueError("not a file of PyTorch")
        if not plain()["little_endian"]:
            raise ValueError("written on a big-endian machine")
        found = RestrictedUnpickler(file, _torch_names(), storage).load()
        keys = plain()
        if set(keys) != set(storages):
            raise ValueError("the list of storages does not match the tensors")
        for key in keys:
            values = storages[key].values
            if int.from_bytes(file.read(8), "little") != len(values):
                raise ValueError(f"storage {key} is not as long as its tensors say")
            storages[key].fill(file.read(values.nbytes))
    return _state_dict(found)


def _read_zip(path: Path) -> Arrays:
    """An archive of NAME/data.pkl and, per storage, NAME/data/KEY."""
    limit, storages = path.stat().st_size, {}
    with zipfile.ZipFile(path) as archive:
        pickles = [n for n in archive.namelist() if n.endswith("/data.pkl")]
        if len(pickles) != 1:
            raise ValueError(f"expected one data.pkl in the archive, got {pickles}")
        root = pickles[0].removesuffix("/data.pkl")
        order = f"{root}/byteorder"
        if order in archive.namelist() and archive.read(order) != b"little":
            raise ValueError("written on a big-endian machine")

        def storage(dtype, key, location, count):
            if key not in storages:
                storages[key] = new = Storage(dtype, count, limit)
                with archive.open(f"{root}/data/{key}") as data:
                    new.fill(data.read(new.values.nbytes + 1))
            return storages[key]

        with archive.open(pickles[0]) as file:
            found = RestrictedUnpickler(file, _torch_names(), storage).load()
    return _state_dict(found)


def _read_safetensors(path: Path) -> Arrays:
    try:
        from safetensors.numpy import load_file
    except ImportError as error:
        raise ValueError(
            "expected the package safetensors, found none; install it with "
            "pip install -e '.[transfer]'"
        ) from error
    return load_file(path)
