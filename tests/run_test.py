"""The command line as a user meets it, and the README's commands."""

import importlib
import json
import os
import re
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from configs import area_attn

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
RUN = (ROOT / "run.py").read_text()


def _start(*arguments, **environment):
    # One device: what a user on a laptop has.
    environment = {**os.environ, "XLA_FLAGS": "", **environment}
    return subprocess.Popen(
        [sys.executable, "run.py", *map(str, arguments)],
        cwd=ROOT,
        env=environment,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )


def _run(*arguments, **environment):
    process = _start(*arguments, **environment)
    output, _ = process.communicate(timeout=300)
    return process.returncode, output


CONFIG = "--config=configs/area_attn.py"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((CONFIG, "--config.train.epoch=3"), ["epoch", "configs/base.py"]),
        ((CONFIG, "--config.train.epochs=many"), ["train.epochs=many"]),
        (("--config=configs/nothing.py",), ["configs/nothing.py"]),
        ((CONFIG + ":demmo",), ["paper, demo, emodb", "demmo"]),
        (("trian", CONFIG), ["train, evaluate, report", "trian"]),
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
        (("report", "w", "--out=x"), ["several workdirs"]),
        (("export", "--workdir=w", "--format=pt"), ["onnx", "'pt'"]),
    ],
)
def test_mistakes_end_with_one_message_and_no_traceback(arguments, said, tmp_path):
    if arguments and arguments[0].startswith(CONFIG):
        arguments = (*arguments, f"--workdir={tmp_path}")
    code, output = _run(*arguments, IEMOCAP_ROOT="")
    assert code == 2, output
    assert "error:" in output and "Traceback" not in output, output
    for words in said:
        assert words in output


def test_without_iemocap_the_message_tells_where_how_and_the_demo(tmp_path):
    code, output = _run(CONFIG, f"--workdir={tmp_path}", IEMOCAP_ROOT="/no/such/place")
    assert code == 2 and "Traceback" not in output
    for words in (
        "/no/such/place",
        "sail.usc.edu/iemocap",
        "--config.data.root",
        "IEMOCAP_ROOT",
        "python run.py --config=configs/area_attn.py:demo",
    ):
        assert words in output


def test_help_is_short_and_fast():
    started = time.monotonic()
    code, output = _run("--help")
    assert "--workdir" in output and "train     build features" in output
    assert "jax" not in sys.modules or time.monotonic() - started < 30
    assert code in (0, 1)


def _tiny(tones, datasets, workdir):
    return (
        CONFIG + ":emodb",
        f"--config.data.manifest={tones}",
        f"--config.data.tfds_dir={datasets}",
        "--config.data.file_format=array_record",
        "--config.data.vtlp_copies=1",
        "--config.segment.window_s=0.5",
        "--config.model.width=0.15",
        "--config.train.epochs=2",
        "--config.train.warmup_epochs=0.0",
        f"--workdir={workdir}",
    )


def test_train_stop_resume_evaluate_report(tones, datasets, tmp_path):
    arguments = _tiny(tones, datasets, tmp_path)
    process = _start(*arguments, "--config.train.epochs=400")
    deadline = time.monotonic() + 200
    while not (tmp_path / "metrics.jsonl").exists() and time.monotonic() < deadline:
        time.sleep(0.2)
    time.sleep(1.0)
    process.send_signal(signal.SIGTERM)
    output, _ = process.communicate(timeout=120)
    assert process.returncode == 0, output
    assert "Stopped by SIGTERM" in output and "Repeat the same command" in output

    code, output = _run(*arguments)  # another number of epochs: another experiment
    assert code == 2 and "train.epochs: here 400, asked for 2" in output

    done = tmp_path / "done"
    arguments = _tiny(tones, datasets, done)
    code, output = _run(*arguments)
    assert code == 0, output
    assert "mean ± std" in output and "pooled" in output
    results = json.loads((done / "results.json").read_text())
    assert len(results["runs"]) == 5

    for command in ("evaluate", "report"):
        code, again = _run(command, f"--workdir={done}")
        assert code == 0, again
        assert _scores(again) == _scores(output)
        assert "time [s]: start " in again and "; total " in again
    assert "First step " in output


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
    commands = _commands()
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
                assert f'"{name[2:]}",' in RUN, argument
        if not arguments[0].startswith("--"):
            assert f'    "{arguments[0]}": _' in RUN, arguments


def test_readme_links_exist():
    for link in re.findall(r"\]\(([^)#:]+)\)", README):
        assert (ROOT / link).exists(), link


def test_report_takes_one_folder_or_several(tmp_path):
    from tests.report import hostile

    folders = [tmp_path / name for name in ("one", "two")]
    for folder in folders:
        folder.mkdir()
        hostile.workdir(folder)
    code, output = _run("report", folders[0])
    assert code == 0 and "mean ± std" in output, output
    assert (folders[0] / "report.html").exists()
    code, output = _run("report", *folders)
    assert code == 0 and str(tmp_path / "comparison.html") in output, output
    out = tmp_path / "out"
    code, output = _run("report", folders[1], f"--workdir={folders[0]}", f"--out={out}")
    assert code == 0 and (out / "comparison.md").exists(), output
    code, output = _run("report", tmp_path / "three")
    assert code == 2 and "results.json" in output and "Traceback" not in output
    code, output = _run("evaluate", folders[0])
    assert code == 2 and "takes no more words" in output
