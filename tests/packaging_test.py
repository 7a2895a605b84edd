"""What an installation brings: the package alone, and its extras."""

import configparser
import re
import subprocess
import sys
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from setuptools import find_packages

ROOT = Path(__file__).parents[1]
SETUP = configparser.ConfigParser()
SETUP.read(ROOT / "setup.cfg")

# What reading, training and predicting take, and `pip install` alone does not bring.
STACK = {
    *("array_record", "joblib", "librosa", "matplotlib", "ml-collections"),
    *("soundfile", "soxr", "tensorboardX", "tensorflow-datasets", "tqdm"),
}
ABSENT = {name.replace("-", "_") for name in STACK} | {"orbax", "tensorflow", "torch"}
EVERY_MODULE = f"""
import importlib, pkgutil, sys
sys.modules.update(dict.fromkeys({sorted(ABSENT)}))
package = importlib.import_module(sys.argv[1])
for module in pkgutil.iter_modules(package.__path__, package.__name__ + "."):
    importlib.import_module(module.name)
    print(module.name)
"""
COMMAND_LINE = """
import runpy, sys
sys.modules["librosa"] = sys.modules["ml_collections"] = None
runpy.run_path("run.py", run_name="__main__")
"""


def _required(lines: str) -> set[str]:
    return {Requirement(line).name for line in lines.split("\n") if line}


CORE = _required(SETUP["options"]["install_requires"])
EXTRAS = {
    name: _required(lines) for name, lines in SETUP["options.extras_require"].items()
}


def _python(code, *arguments):
    return subprocess.run(
        [sys.executable, "-c", code, *arguments],
        check=False,
        cwd=ROOT,
        capture_output=True,
        text=True,
    )


def test_the_package_alone_is_jax_and_flax():
    assert CORE == {"flax", "jax", "jaxtyping", "numpy"}


def test_extras_bring_the_stack_to_all_that_needs_it():
    assert EXTRAS["train"] >= STACK
    for extra in EXTRAS.keys() - {"cuda", "tpu", "reference"}:
        assert EXTRAS[extra] >= EXTRAS["train"], extra
    with_tensorflow = {
        e for e in EXTRAS if EXTRAS[e] & {"tensorflow", "tensorflow-cpu"}
    }
    assert with_tensorflow == {"tfrecord", "test"}


@pytest.mark.parametrize("package", ["ser_jax.layers", "ser_jax.models"])
def test_layers_and_models_import_without_the_stack(package):
    done = _python(EVERY_MODULE, package)
    assert done.returncode == 0, done.stderr
    files = (ROOT / package.replace(".", "/")).glob("*.py")
    expected = {f"{package}.{file.stem}" for file in files} - {f"{package}.__init__"}
    assert set(done.stdout.split()) == expected


def test_without_the_stack_the_command_line_says_what_to_install():
    done = _python(COMMAND_LINE)
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1 and not done.stdout
    for words in ("error: expected", "librosa, ml_collections", "'.[train]'"):
        assert words in done.stderr


def test_every_folder_with_code_is_installed_and_nothing_else():
    include = SETUP["options.packages.find"]["include"].split()
    tops = ("ser_jax", "tfds_iemocap")
    files = [file for top in tops for file in (ROOT / top).rglob("*.py")]
    folders = {".".join(file.parent.relative_to(ROOT).parts) for file in files}
    assert set(find_packages(ROOT, include=include)) == folders


def test_pip_commands_name_extras_that_exist():
    files = [ROOT / "run.py", *ROOT.glob("*.md"), *ROOT.glob("docs/*.md")]
    for folder in ("ser_jax", "tfds_iemocap", "benchmarks"):
        files += [*(ROOT / folder).rglob("*.py"), *(ROOT / folder).rglob("*.md")]
    texts = "\n".join(file.read_text() for file in files)
    named = re.findall(r"pip install (?:-e )?'\.\[([^\]]+)\]'", texts)
    assert len(named) > 8
    assert {extra for names in named for extra in names.split(",")} <= EXTRAS.keys()
