"""The command line as a user meets it, and the README's commands."""

import glob
import importlib
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from absl import flags

import run
from configs import area_attn
from ser_jax import clock
from ser_jax.errors import InputError
from ser_jax.training import compilation

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()


def _start(*arguments):
    """A process as a user starts it, on one device as a laptop has."""
    return subprocess.Popen(
        [sys.executable, "run.py", *map(str, arguments)],
        cwd=ROOT,
        env={**os.environ, "XLA_FLAGS": ""},
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )


@pytest.fixture
def command(monkeypatch, capsys):
    """`command(*arguments)` -> (exit code, output), inside this process."""
    monkeypatch.chdir(ROOT)
    monkeypatch.setattr(compilation, "keep_programs", lambda: None)

    def call(*arguments):
        argv = ["run.py", *map(str, arguments)]
        monkeypatch.setattr(sys, "argv", argv)  # ml_collections looks there
        monkeypatch.delitem(
            sys.modules, "config_config", raising=False
        )  # its last file
        values = flags.FlagValues()
        run.define_flags(values)
        try:
            with clock.running():
                code = run.main(run.parse_flags(argv, values), values)
        except InputError as error:
            print(f"error: {error}")
            code = 2
        return code, capsys.readouterr().out

    return call


CONFIG = "--config=configs/area_attn.py"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((CONFIG, "--config.train.epoch=3"), ["epoch", "configs/base.py"]),
        ((CONFIG, "--config.train.epochs=many"), ["train.epochs=many"]),
        (("--config=configs/nothing.py",), ["configs/nothing.py"]),
        ((CONFIG + ":demmo",), ["paper, code, demo, emodb", "demmo"]),
        (("trian", CONFIG), ["train, build, evaluate", "trian"]),
        ((CONFIG, "--beam=runner=DirectRunner"), ["`run.py build`", "'train'"]),
        (("build",), ["--config=configs/area_attn.py"]),
        ((), ["--config=configs/area_attn.py"]),
        (("evaluate",), ["--workdir"]),
        (("evaluate", "--workdir=/tmp/no-such-workdir-of-ser-jax"), ["config.json"]),
        ((CONFIG, "--config.protocol.split=sesion5"), ["session5", "sesion5"]),
        ((CONFIG, "--config.model.name=aacnn"), ["area_attn", "aacnn"]),
        ((CONFIG, "--config.model.layout=cube"), ["grid2d", "cube"]),
        ((CONFIG, "--config.train.class_weights=yes"), ["balanced", "yes"]),
        ((CONFIG, "--config.train.batch_size=0"), ["train.batch_size", "1 or more"]),
        ((CONFIG, "--nonsense"), ["nonsense", "--help"]),
        (("predict", "--workdir=w", "x.wav", "--hop=1"), ["--hop", "--window"]),
        (
            ("predict", "--workdir=w", "x", "--labels=a=b", "--window=2"),
            ["--labels", "--window"],
        ),
        (("explain", "--workdir=w", "--corpus", "x.wav"), ["takes no recordings"]),
        (("explain", "--workdir=w", "--corpus=emodb"), ["takes no name", "'emodb'"]),
        (("evaluate", "--workdir=w", "--corpus"), ["--corpus=NAME", "--corpus=true"]),
        (("evaluate", "--workdir=w", "--corpus", "tess"), ["'tess'", "--corpus=NAME"]),
        (("evaluate", "--workdir=w", "--root=x"), ["--root", "--corpus=NAME"]),
        (
            ("evaluate", "--workdir=w", "--corpus=tess", "--manifest=m.csv"),
            ["--corpus=tess --manifest=m.csv"],
        ),
        (
            ("evaluate", "--workdir=w", "--corpus=tess", "--data=x"),
            ["--corpus=tess --data=x"],
        ),
        (("report", "w", "--out=x"), ["several workdirs"]),
        (("baseline",), ["--workdir"]),
        (("ensemble",), ["W1 W2", "--out=FOLDER", "got none"]),
        (("ensemble", "w", "--weights=worst"), ["equal, validation, best", "'worst'"]),
        (
            ("baseline", "--workdir=w", "--features=mfcc"),
            ["--features", "functionals, compare, egemaps", "'mfcc'"],
        ),
        (("export", "--workdir=w", "--format=pt"), ["onnx", "'pt'"]),
    ],
)
def test_mistakes_end_with_one_message(
    arguments, words, command, tmp_path, monkeypatch
):
    monkeypatch.setenv("IEMOCAP_ROOT", "")
    if arguments and arguments[0].startswith(CONFIG):
        arguments = (*arguments, f"--workdir={tmp_path}")
    code, output = command(*arguments)
    assert code == 2, output
    for word in words:
        assert word in output


def test_the_baseline_by_itself_and_at_the_end_of_a_training(
    command, quick_workdir, tmp_path, monkeypatch
):
    from ser_jax.training import loop

    monkeypatch.setattr(loop, "train_and_evaluate", lambda config, workdir: None)
    workdir = shutil.copytree(quick_workdir, tmp_path / "w")
    code, output = command(CONFIG, f"--workdir={workdir}")
    assert code == 0 and "linear SVM" not in output
    asked = CONFIG, f"--workdir={workdir}", "--config.train.baseline=True"
    code, output = command(*asked)
    assert code == 0 and "\nlinear SVM " in output
    written = (workdir / "baseline" / "results.json").stat().st_mtime_ns
    command(*asked)  # it is there
    assert (workdir / "baseline" / "results.json").stat().st_mtime_ns == written
    code, output = command("baseline", f"--workdir={workdir}")
    assert code == 0 and "\nlinear SVM " in output
    assert (workdir / "baseline" / "results.json").stat().st_mtime_ns > written
    (workdir / "results.json").unlink()
    code, output = command("baseline", f"--workdir={workdir}")
    assert code == 2 and "results.json, got none" in output


def test_an_ensemble_is_reported_like_a_workdir_and_is_no_model(
    command, quick_workdir, tmp_path
):
    names = [shutil.copytree(quick_workdir, tmp_path / name) for name in "ab"]
    folder = tmp_path / "e"
    code, output = command("ensemble", *names, f"--out={folder}")
    assert code == 0 and "Ensemble of 2 × area_attn on tones" in output
    said = [(x / "predictions.csv").read_text() for x in (names[0], folder)]
    assert said[0] == said[1]  # to the last digit: it says what both said
    code, output = command(
        "ensemble", *names, f"--out={folder}", "--weights=validation"
    )
    assert code == 0 and "weights (validation): a 0.500, b 0.500" in output
    code, output = command("report", *names, folder)
    assert code == 0 and "comparison.html" in output
    assert command("report", f"--workdir={folder}")[0] == 0
    code, output = command("baseline", f"--workdir={folder}")
    assert code == 0 and "\nlinear SVM " in output
    for words in (
        [CONFIG],
        ["evaluate"],
        ["evaluate", "--corpus=ravdess", "--root=x"],
        ["predict", "x.wav"],
        ["explain", "x.wav"],
        ["explain", "--corpus"],
        ["export"],
    ):
        code, output = command(*words, f"--workdir={folder}")
        assert code == 2 and f"{folder} is an ensemble" in output, words
        assert output.count("\n") == 1
    assert not (folder / "checkpoints").exists()


def test_a_corpus_has_a_value_for_evaluate_and_none_for_explain(command, monkeypatch):
    from ser_jax.explain import explain
    from ser_jax.predict import cross_corpus
    from ser_jax.report import report
    from ser_jax.training import loop

    calls = []

    def record(name, returned=""):
        return lambda *args, **options: calls.append((name, args, options)) or returned

    monkeypatch.setattr(explain, "explain_corpus", record("explain"))
    monkeypatch.setattr(cross_corpus, "evaluate", record("evaluate", {"name": "n"}))
    monkeypatch.setattr(report, "write_cross_corpus", record("write"))
    monkeypatch.setattr(loop, "evaluate", record("repeat"))
    monkeypatch.setattr(run, "_report_one", record("report"))
    for arguments in (
        ("explain", "--corpus", "--workdir=w", "--data=d"),
        ("evaluate", "--workdir=w", "--corpus=tess", "--root=r", "--name=n"),
        ("evaluate", "--workdir=w", "--manifest=m.csv", "--labels=a=b"),
        ("evaluate", "--workdir=w", "--data=d"),
    ):
        assert command(*arguments)[0] == 0
    empty = {"root": "", "name": "", "labels": ""}
    assert calls == [
        ("explain", ("w",), {"data": "d", "run": "", "out": ""}),
        ("evaluate", ("w", "tess"), empty | {"root": "r", "name": "n"}),
        ("write", ("w", "n"), {}),
        ("evaluate", ("w", "m.csv"), empty | {"labels": "a=b"}),
        ("write", ("w", "n"), {}),
        ("repeat", ("w", "d"), {}),
        ("report", ("w",), {}),
    ]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (
            "def get_config():\n    return 1 / 0\n",
            "line 2: ZeroDivisionError: division",
        ),
        (
            "def get_config():\n    return {\n",
            "line 2: SyntaxError: '{' was never closed",
        ),
        ("import nothing_here\n", "line 1: ModuleNotFoundError: No module named"),
        ("\0", "line 1: SyntaxError: source code string cannot contain null bytes"),
        ("x = 1\n", "c.py: expected a function get_config(); got none"),
        ("def get_config():\n    pass\n", "to return a ConfigDict; got NoneType"),
        ("def get_config():\n    return 7\n", "to return a ConfigDict; got int"),
        ("def get_config():\n    exit(0)\n", "line 2: SystemExit: 0"),
        (
            "import ml_collections as m\nget_config = lambda: m.ConfigDict({'a': 1})\n",
            "expected every key of configs/base.py",
        ),
        ("raise ValueError('no such thing')\n", "line 1: ValueError: no such thing"),
    ],
)
def test_a_broken_config_file_is_named_with_its_line(content, words, command, tmp_path):
    (tmp_path / "c.py").write_text(content)
    code, output = command(f"--config={tmp_path / 'c.py'}", f"--workdir={tmp_path}")
    assert code == 2 and words in output
    assert "line" not in words or str(tmp_path / "c.py") in output


def test_a_file_that_looks_like_a_flag_comes_with_a_hint(
    command, tmp_path, monkeypatch
):
    (tmp_path / "-dash.wav").touch()
    argv = ["run.py", "predict", "--workdir=w", "-dash.wav"]
    values = flags.FlagValues()
    run.define_flags(values)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(
        InputError, match=r"the file is \./-dash\.wav, or comes after --"
    ):
        run.parse_flags(argv, values)
    assert run.parse_flags([*argv[:3], "--", "-dash.wav"], values)[-1] == "-dash.wav"


def test_a_mistake_ends_the_process_without_a_traceback():
    process = _start(CONFIG, "--config.train.epoch=3")
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 2
    assert output.startswith("error: ") and "Traceback" not in output
    assert "got 'epoch' Did you mean \"epochs\"" in output


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")
def test_output_that_cannot_be_written_is_one_line():
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONUNBUFFERED"}
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [sys.executable, "run.py", "--help"],
            check=False,
            cwd=ROOT,
            env=environment,
            text=True,
            stdout=full,
            stderr=subprocess.PIPE,
        )
    assert (done.returncode, done.stderr) == (
        1,
        "error: output: No space left on device\n",
    )


def test_sigterm_while_building_leaves_nothing(tmp_path):
    """Twice, as impatient schedulers send it."""
    process = _start(
        CONFIG + ":demo",
        f"--config.data.tfds_dir={tmp_path / 'tfds'}",
        "--config.data.file_format=array_record",
        "--config.data.demo_turns=4",
        f"--workdir={tmp_path / 'w'}",
    )
    deadline = time.monotonic() + 60
    unfinished = f"{tmp_path}/tfds/**/incomplete.*/*"
    while not glob.glob(unfinished, recursive=True):  # Path.rglob trips over renames
        assert time.monotonic() < deadline and process.poll() is None
        time.sleep(0.01)
    process.terminate()
    process.terminate()
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 128 + signal.SIGTERM, output
    assert "Traceback" not in output
    assert not [*(tmp_path / "tfds").rglob("incomplete.*")]
    assert not [*(tmp_path / "tfds").rglob("dataset_info.json")]


def test_without_iemocap_the_message_tells_where_how_and_the_demo(
    command, tmp_path, monkeypatch
):
    monkeypatch.setenv("IEMOCAP_ROOT", "/no/such/place")
    code, output = command(CONFIG, f"--workdir={tmp_path}")
    assert code == 2
    for words in (
        "/no/such/place",
        "sail.usc.edu/iemocap",
        "--config.data.root",
        "IEMOCAP_ROOT",
        "python run.py --config=configs/area_attn.py:demo",
    ):
        assert words in output


def test_help_is_short_and_needs_no_jax():
    code = "import runpy, sys; sys.argv[1:] = ['--help']\n"
    code += "sys.modules['jax'] = None\nrunpy.run_path('run.py', run_name='__main__')"
    done = subprocess.run(
        [sys.executable, "-c", code],
        check=False,
        cwd=ROOT,
        env={**os.environ, "GLIBC_TUNABLES": "glibc.malloc.hugetlb=1"},
        text=True,
        capture_output=True,
    )
    assert done.returncode in (0, 1), done.stderr
    assert "--workdir" in done.stdout and "train     build features" in done.stdout


def _tiny(tones, datasets, workdir):
    return (
        CONFIG + ":emodb",
        "--config.data.corpus=manifest",
        f"--config.data.manifest={tones}",
        f"--config.data.tfds_dir={datasets}",
        "--config.data.file_format=array_record",
        "--config.data.vtlp_copies=1",
        "--config.segment.window_s=0.5",
        "--config.model.width=0.15",
        "--config.train.epochs=2",
        "--config.train.warmup_epochs=0.0",
        "--config.train.schedule=constant",  # one program whatever the epochs
        f"--workdir={workdir}",
    )


def test_train_stop_refuse_evaluate_report(command, tones, datasets, tmp_path):
    arguments = _tiny(tones, datasets, tmp_path)
    process = _start(*arguments, "--config.train.epochs=400")
    deadline = time.monotonic() + 200
    log = tmp_path / "metrics.jsonl"  # made before, filled after the first epoch
    while not (log.exists() and log.stat().st_size) and time.monotonic() < deadline:
        time.sleep(0.2)
    process.send_signal(signal.SIGTERM)
    output, _ = process.communicate(timeout=120)
    assert process.returncode == 0, output
    assert "Stopped by SIGTERM" in output and "Repeat the same command" in output

    code, output = command(*arguments)  # another number of epochs: another experiment
    assert code == 2 and "train.epochs: here 400, asked for 2" in output

    done = tmp_path / "done"
    process = _start(*_tiny(tones, datasets, done))
    output, _ = process.communicate(timeout=200)
    assert process.returncode == 0, output
    assert "mean ± std" in output and "pooled" in output
    found = re.search(r"(\d+) programs, (\d+) of them from the cache", output)
    assert int(found[2]) > int(found[1]) / 2  # those of the first process
    results = json.loads((done / "results.json").read_text())
    assert len(results["runs"]) == 5

    for name in ("evaluate", "report"):
        code, again = command(name, f"--workdir={done}")
        assert code == 0, again
        assert _scores(again) == _scores(output)
        assert "time [s]: start " in again and "; total " in again


def _scores(output: str) -> str:
    """The table of what was printed, without where the time went."""
    return output[output.index("fold ") : output.index("time [s]")]


def _commands() -> list[list[str]]:
    blocks = re.findall(r"```(?:bash|sh)\n(.*?)```", README, re.DOTALL)
    text = "\n".join(blocks).replace("\\\n", " ")
    found = re.findall(r"python run\.py ([^\n&|;#]*)", text)
    return [shlex.split(command) for command in found]


def _config_files(path: str) -> list[Path]:
    """The config that a command names; all of them for `configs/NAME.py`."""
    shared = ("__init__", "base", "presets")
    files = [f for f in ROOT.glob("configs/*.py") if f.stem not in shared]
    return [f for f in files if path in ("configs/NAME.py", f"configs/{f.name}")]


def test_readme_commands_name_configs_presets_and_keys_that_exist():
    commands, values = _commands(), flags.FlagValues()
    run.define_flags(values)
    assert len(commands) >= 4
    for arguments in commands:
        for argument in arguments:
            name, _, value = argument.partition("=")
            if name == "--config":
                path, _, preset = value.partition(":")
                files = _config_files(path)
                assert files, argument
                for path in files:
                    module = importlib.import_module(f"configs.{path.stem}")
                    assert preset in ("", *module.PRESETS), argument
            elif name.startswith("--config."):
                node = area_attn.get_config()
                for key in name.split(".")[1:]:
                    assert key in node, argument
                    node = node[key]
            elif name.startswith("--"):
                assert name[2:] in values, argument
        if not arguments[0].startswith("--"):
            assert arguments[0] in run.COMMANDS, arguments


def test_readme_links_exist():
    for link in re.findall(r"\]\(([^)#:]+)\)", README):
        assert (ROOT / link).exists(), link


def test_report_takes_one_folder_or_several(command, tmp_path):
    from tests.report import hostile

    folders = [tmp_path / name for name in ("one", "two")]
    for folder in folders:
        folder.mkdir()
        hostile.workdir(folder)
    code, output = command("report", folders[0])
    assert code == 0 and "mean ± std" in output, output
    assert (folders[0] / "report.html").exists()
    code, output = command("report", *folders)
    assert code == 0 and str(tmp_path / "comparison.html") in output, output
    out = tmp_path / "out"
    code, output = command(
        "report", folders[1], f"--workdir={folders[0]}", f"--out={out}"
    )
    assert code == 0 and (out / "comparison.md").exists(), output
    code, output = command("report", tmp_path / "three")
    assert code == 2 and "expected a trained folder at" in output
    code, output = command("evaluate", folders[0])
    assert code == 2 and "takes no further arguments" in output
