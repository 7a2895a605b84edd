"""Weight files: what is read, and that nothing a file asks for is ever run."""

import collections
import os
import pickle
import sys
import zipfile

import numpy as np
import pytest

from ser_jax.models import weight_files
from tests.models import torch_files

WRITERS = {"legacy": torch_files.write_legacy, "zip": torch_files.write_zip}


def arrays():
    rng = np.random.default_rng(0)
    return {
        "features.0.weight": rng.normal(size=(5, 3, 2, 4)).astype(np.float32),
        "features.0.bias": rng.normal(size=5).astype(np.float16),
        "norm.num_batches_tracked": np.array(7, np.int64),
    }


def same(found, wanted):
    assert list(found) == list(wanted)
    for name, x in wanted.items():
        assert found[name].dtype == x.dtype and found[name].shape == x.shape
        np.testing.assert_array_equal(found[name], x)


@pytest.mark.parametrize("write", WRITERS.values(), ids=WRITERS)
def test_hand_made_files_come_back(write, tmp_path):
    write(tmp_path / "w.pth", arrays())
    same(weight_files.read(tmp_path / "w.pth"), arrays())


@pytest.mark.parametrize("write", WRITERS.values(), ids=WRITERS)
def test_tensors_may_share_a_storage_and_be_turned_round(write, tmp_path):
    x = np.arange(12, dtype=np.float32)
    opcodes = torch_files.dictionary(
        {
            "turned": torch_files.tensor("0", x, size=(3, 4), stride=(1, 3)),
            "end": torch_files.tensor("0", x, size=(2,), stride=(1,), offset=10),
            "none": torch_files.tensor("0", x, size=(0, 4), stride=(4, 1)),
            "one": torch_files.tensor("0", x, size=(), stride=(), offset=5),
        }
    )
    write(tmp_path / "w.pth", {"x": x}, opcodes)
    found = weight_files.read(tmp_path / "w.pth")
    np.testing.assert_array_equal(found["turned"], x.reshape(4, 3).T)
    np.testing.assert_array_equal(found["end"], [10, 11])
    assert found["none"].shape == (0, 4) and found["one"] == 5


def test_old_tensors_and_parameters_come_back(tmp_path):
    x = np.arange(6, dtype=np.float32).reshape(2, 3)
    tensor = torch_files.tensor("0", x)
    parameter = b"ctorch._utils\n_rebuild_parameter\n(" + tensor + b"\x88"
    opcodes = {
        "old": tensor.replace(b"_rebuild_tensor_v2", b"_rebuild_tensor"),
        "parameter": parameter + torch_files.ORDERED + b"tR",
    }
    torch_files.write_legacy(
        tmp_path / "w.pth", {"x": x}, torch_files.dictionary(opcodes)
    )
    same(weight_files.read(tmp_path / "w.pth"), {"old": x, "parameter": x})


@pytest.mark.parametrize("zipped", [False, True])
def test_files_of_pytorch_come_back(zipped, tmp_path):
    torch = pytest.importorskip("torch")
    tensors = {name: torch.from_numpy(x) for name, x in arrays().items()}
    tensors["turned"] = tensors["features.0.weight"].permute(2, 3, 1, 0)
    tensors["parameter"] = torch.nn.Parameter(torch.arange(4.0))
    # A module's state dict carries its versions as an attribute.
    tensors = collections.OrderedDict(tensors)
    tensors._metadata = {"": {"version": 1}}
    path = tmp_path / "w.pth"
    torch.save(tensors, path, _use_new_zipfile_serialization=zipped)
    same(weight_files.read(path), {k: x.detach().numpy() for k, x in tensors.items()})


def test_safetensors_come_back(tmp_path):
    numpy = pytest.importorskip("safetensors.numpy")
    numpy.save_file(arrays(), tmp_path / "w.safetensors")
    found = weight_files.read(tmp_path / "w.safetensors")
    same(dict(sorted(found.items())), dict(sorted(arrays().items())))


def test_safetensors_without_the_package_say_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "safetensors.numpy", None)
    (tmp_path / "w.safetensors").write_bytes(b"")
    with pytest.raises(ValueError, match=r"pip install -e '\.\[transfer\]'"):
        weight_files.read(tmp_path / "w.safetensors")


class Shell:
    """Unpickling it runs a command."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.system, (f"touch {self.path}",)


def command(path):
    """The opcodes of the command, without the pickle's frame."""
    return pickle.dumps(Shell(path), 2)[2:-1]


def malicious(kind, path, marker):
    """Writes a file whose reading would make the marker."""
    if kind == "first pickle":
        path.write_bytes(pickle.dumps(Shell(marker)))
    elif kind == "numpy pickle":
        path.write_bytes(pickle.dumps({"conv1": [np.ones(2), Shell(marker)]}))
    else:
        opcodes = torch_files.dictionary({"weight": command(marker)})
        WRITERS[kind](path, {}, opcodes)


@pytest.mark.parametrize("kind", ["first pickle", "legacy", "zip", "numpy pickle"])
def test_a_file_that_would_run_a_command_is_refused(kind, tmp_path):
    path, marker = tmp_path / "w.pth", tmp_path / "marker"
    malicious(kind, path, marker)
    numpy = kind == "numpy pickle"
    read = weight_files.read_numpy_pickle if numpy else weight_files.read
    with pytest.raises(ValueError, match=r"w\.pth.*refused.*(posix|nt)\.system"):
        read(path)
    assert not marker.exists()
    pickle.loads(pickle.dumps(Shell(marker)))  # the threat is real
    assert marker.exists()


@pytest.mark.parametrize(
    ("module", "name"),
    [
        ("builtins", "eval"),
        ("numpy", "load"),
        ("torch", "load"),
        ("torch.nn", "Linear"),
        ("torch", "BoolStorage"),
    ],
)
def test_any_other_name_is_refused(module, name, tmp_path):
    opcodes = torch_files.dictionary({"x": f"c{module}\n{name}\n".encode()})
    torch_files.write_zip(tmp_path / "w.pth", {}, opcodes)
    with pytest.raises(ValueError, match=rf"refused: it asks for {module}\.{name}"):
        weight_files.read(tmp_path / "w.pth")


X = np.arange(6, dtype=np.float32)
WRONG_TENSORS = {
    "reaches beyond": {"size": (2, 3), "stride": (4, 1)},
    "a tensor of size": {"size": (2,), "stride": (-1,), "offset": 3},
    "a storage of 99999999": {"count": 99_999_999},
    "(not as long|20 bytes)": {"size": (5,), "stride": (1,), "count": 5},
}


@pytest.mark.parametrize("write", WRITERS.values(), ids=WRITERS)
@pytest.mark.parametrize("message", WRONG_TENSORS)
def test_tensors_outside_their_storage_are_refused(write, message, tmp_path):
    tensor = torch_files.tensor("0", X, **WRONG_TENSORS[message])
    write(tmp_path / "w.pth", {"x": X}, torch_files.dictionary({"x": tensor}))
    with pytest.raises(ValueError, match=f"cannot be read: .*{message}"):
        weight_files.read(tmp_path / "w.pth")


@pytest.mark.parametrize("write", WRITERS.values(), ids=WRITERS)
def test_what_is_no_state_dict_is_refused(write, tmp_path):
    nested = torch_files.dictionary(
        {"state_dict": b"}", "epoch": torch_files.number(3)}
    )
    write(tmp_path / "w.pth", {}, nested)
    with pytest.raises(ValueError, match=r"state_dict', 'epoch'.*state_dict\(\) alone"):
        weight_files.read(tmp_path / "w.pth")


@pytest.mark.parametrize("write", WRITERS.values(), ids=WRITERS)
def test_damaged_files_are_refused(write, tmp_path):
    path = tmp_path / "w.pth"
    write(path, arrays())
    whole = path.read_bytes()
    for length in (0, 3, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:length])
        with pytest.raises(ValueError, match=r"w\.pth cannot be read"):
            weight_files.read(path)


def test_other_forms_are_refused(tmp_path):
    path = tmp_path / "w.pth"
    for message, write in {
        "not a file of PyTorch": lambda: path.write_bytes(pickle.dumps({"a": 1})),
        "one data.pkl": lambda: zipfile.ZipFile(path, "w").close(),
        "big-endian": lambda: torch_files.write_zip(path, {}, byteorder="big"),
        "written on a big": lambda: torch_files.write_legacy(
            path, {}, little_endian=False
        ),
        "list of storages": lambda: torch_files.write_legacy(
            path, {"x": X}, torch_files.dictionary({})
        ),
        "view of a storage": lambda: torch_files.write_legacy(
            path,
            {"x": X},
            torch_files.dictionary({"x": torch_files.tensor("0", X, view=b")")}),
        ),
        "something outside": lambda: path.write_bytes(b"\x80\x02(X\x01\0\0\0atQ."),
    }.items():
        write()
        with pytest.raises(ValueError, match=message):
            weight_files.read(path)
    with pytest.raises(ValueError, match="expected a file, got"):
        weight_files.read(tmp_path / "none.pth")


@pytest.mark.parametrize("protocol", [3, 4])
def test_numpy_pickles_come_back(protocol, tmp_path):
    path = tmp_path / "w.pkl"
    arrays = [np.ones((2, 3), np.float32), np.arange(4.0)]
    path.write_bytes(pickle.dumps({"conv1": arrays}, protocol))
    found = weight_files.read_numpy_pickle(path)
    assert list(found) == ["conv1"]
    for a, b in zip(found["conv1"], arrays, strict=True):
        np.testing.assert_array_equal(a, b)
