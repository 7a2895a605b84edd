"""Who may import whom, how long things may be, and which keys exist."""

import ast
import functools
import importlib
import re
import subprocess
import sys
from pathlib import Path

import pytest

from configs import base

ROOT = Path(__file__).parents[1]
SOURCES = sorted([*ROOT.glob("ser_jax/**/*.py"), *ROOT.glob("tfds_iemocap/*.py")])

CONFIGS = {
    path.stem: importlib.import_module(f"configs.{path.stem}")
    for path in sorted(ROOT.glob("configs/*.py"))
    if path.stem not in ("__init__", "base", "presets")
}

# Everything may import these, which import nothing of ours.
LEAVES = (
    "ser_jax.background",
    "ser_jax.bucket",
    "ser_jax.clock",
    "ser_jax.command_line",
    "ser_jax.ending",
    "ser_jax.errors",
    "ser_jax.figure_style",
    "ser_jax.huge_pages",
    "ser_jax.terminal",
    "ser_jax.user_cache",
)

# Package -> what of ours it may import besides itself and the leaves.
ARROWS = {
    "ser_jax.corpora": (),
    "ser_jax.encoders": ("ser_jax.layers",),
    "ser_jax.features": ("ser_jax.encoders",),
    "ser_jax.layers": (),
    "ser_jax.scoring": (),
    "ser_jax.models": ("ser_jax.encoders", "ser_jax.layers"),
    "ser_jax.datasets": ("ser_jax.corpora", "ser_jax.features"),
    "ser_jax.data": (
        "ser_jax.corpora",
        "ser_jax.datasets",
        "ser_jax.features",
    ),
    "ser_jax.workdir": (),
    # The one file that training shares with all that uses a trained model.
    "ser_jax.predict.forward": ("ser_jax.features", "ser_jax.scoring"),
    "ser_jax.training": (
        "ser_jax.corpora",
        "ser_jax.data",
        "ser_jax.datasets",
        "ser_jax.features",
        "ser_jax.layers",
        "ser_jax.encoders",
        "ser_jax.models",
        "ser_jax.predict.forward",
        "ser_jax.scoring",
        "ser_jax.workdir",
    ),
    "ser_jax.predict": (
        "ser_jax.corpora",
        "ser_jax.features",
        "ser_jax.models",
        "ser_jax.scoring",
        "ser_jax.workdir",
    ),
    # A classifier without JAX on the folds of a workdir.
    "ser_jax.baseline": (
        "ser_jax.corpora",
        "ser_jax.datasets",
        "ser_jax.features",
        "ser_jax.scoring",
        "ser_jax.workdir",
    ),
    # Averages what workdirs answered; no JAX.
    "ser_jax.ensemble": ("ser_jax.scoring", "ser_jax.workdir"),
    # Looks at a corpus as training would, up to where JAX begins.
    "ser_jax.survey": (
        "ser_jax.corpora",
        "ser_jax.data.duplicates",
        "ser_jax.data.spellings",
        "ser_jax.datasets.sketches",
        "ser_jax.features.audio",
        "ser_jax.features.signal_quality",
        "ser_jax.workdir.files",
    ),
    "ser_jax.report": (
        "ser_jax.corpora.source",
        "ser_jax.features.audio",
        "ser_jax.scoring",
        "ser_jax.survey",
        "ser_jax.workdir",
    ),
    "ser_jax.explain": (
        "ser_jax.data",
        "ser_jax.datasets",
        "ser_jax.features",
        "ser_jax.layers.attention_grid",
        "ser_jax.predict",
        "ser_jax.scoring",
        "ser_jax.training",
        "ser_jax.workdir",
    ),
    "ser_jax.export": (
        "ser_jax.encoders",
        "ser_jax.features",
        "ser_jax.predict",
        "ser_jax.workdir",
    ),
    "tfds_iemocap": ("ser_jax.corpora", "ser_jax.datasets"),
    **{leaf: () for leaf in LEAVES},
    "ser_jax.command_line": ("ser_jax.errors",),
    "ser_jax.bucket": ("ser_jax.errors",),
    "ser_jax.ending": ("ser_jax.errors", "ser_jax.terminal"),
}


def _module(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts)


def _imports(path: Path) -> set[str]:
    """Full names of the modules of ours that a file imports, anywhere in it."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return {name for name in found if name.startswith(("ser_jax", "tfds_iemocap"))}


def _functions(path: Path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.FunctionDef):
            yield node


def _under(name: str, package: str) -> bool:
    return name == package or name.startswith(package + ".")


@pytest.mark.parametrize("path", SOURCES, ids=_module)
def test_imports_follow_the_arrows(path):
    module = _module(path)
    package = next((p for p in ARROWS if _under(module, p)), None)
    if package is None:
        assert module == "ser_jax.__init__" and not _imports(path)
        return
    allowed = (package, *ARROWS[package], *(() if package in LEAVES else LEAVES))
    for name in _imports(path):
        assert any(_under(name, a) for a in allowed), f"{module} imports {name}"


@pytest.mark.parametrize("path", SOURCES, ids=_module)
def test_files_functions_and_constructors_stay_small(path):
    assert len(path.read_text().splitlines()) <= 350
    for node in _functions(path):
        has_docstring = ast.get_docstring(node) is not None
        first = node.body[1 if has_docstring and len(node.body) > 1 else 0]
        assert node.end_lineno - first.lineno < 45, f"{node.name} is too long"
        if node.name == "__init__":
            arguments = node.args.args[1:] + node.args.kwonlyargs
            assert len(arguments) <= 8, f"{node.name} takes too many arguments"


@pytest.mark.parametrize(
    "module",
    [
        "ser_jax.corpora.iemocap",
        "ser_jax.encoders.spec",
        "ser_jax.features.vtlp",
        "ser_jax.survey.manifest_file",
        "ser_jax.survey.survey",
        "ser_jax.baseline.baseline",
        "ser_jax.ensemble.ensemble",
        "ser_jax.report.corpus_page",
    ],
)
def test_imports_stay_light(module):
    code = (
        f"import sys, {module}\n"
        "heavy = {'jax', 'tensorflow', 'flax'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)


def _keys(tree, prefix=""):
    for key, value in tree.items():
        if hasattr(value, "items"):
            yield from _keys(value, f"{prefix}{key}.")
        else:
            yield prefix + key


@functools.cache
def _words(*paths: Path) -> set[str]:
    return {x for path in paths for x in re.findall(r"\w+", path.read_text())}


@pytest.mark.parametrize("name", CONFIGS)
def test_every_key_is_read_somewhere(name):
    own = ROOT / "ser_jax" / "models" / f"{name}.py"
    files = [
        ROOT / f"{m.rsplit('.', 1)[0].replace('.', '/')}.py" for m in _imports(own)
    ]
    models = [f for f in (own, *files) if f.parent == own.parent]
    for key in _keys(CONFIGS[name].get_config()):
        group, last = key.split(".")[0], key.split(".")[-1]
        if group == "published":
            continue  # the report compares whatever is published
        shared = group != "model" or last in base.get_config().model
        readers = SOURCES if shared else models
        assert last in _words(*readers), f"{key} is read nowhere"


PRESETS = [
    (name, preset)
    for name, module in CONFIGS.items()
    for preset in ("", *module.PRESETS)
]


@pytest.mark.parametrize(("name", "preset"), PRESETS)
def test_presets_change_values_never_keys(name, preset):
    config = CONFIGS[name].get_config(preset)
    assert config.is_locked and config.model.name == name
    plain = CONFIGS[name].get_config()
    assert set(_keys(config)) == set(_keys(plain))
    model = {f"model.{key}" for key in config.model}
    assert set(_keys(config)) - model == set(_keys(base.get_config())) - model
    with pytest.raises(AttributeError):
        config.train.epoch = 3


@pytest.mark.parametrize("name", CONFIGS)
def test_every_system_has_the_common_presets(name):
    module = CONFIGS[name]
    assert {"demo", "emodb", "emodb_small"} <= set(module.PRESETS)
    for preset in module.PRESETS:
        assert f"configs/{name}.py:{preset}" in module.__doc__
    with pytest.raises(ValueError, match=", ".join(module.PRESETS)):
        module.get_config("demmo")


def test_nothing_refers_to_files_outside_the_repository():
    written = {"report.md", "comparison.md", "corpus.md"}
    names = {path.name for path in ROOT.rglob("*.md")} | written
    for path in [*SOURCES, *ROOT.glob("configs/*.py"), ROOT / "run.py"]:
        mentioned = set(re.findall(r"[\w-]+\.md\b", path.read_text()))
        assert mentioned <= names, path


def test_no_config_is_read_with_a_default():
    for path in SOURCES:
        if path.parent.name in ("report", "encoders"):
            continue  # they read files of any version, or others', not configs
        assert not re.search(
            r"\b(config|train|data|protocol|model)\.get\(", path.read_text()
        )
