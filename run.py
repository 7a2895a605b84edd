"""The only entry: python run.py [COMMAND] [--config=configs/NAME.py[:PRESET]] [--workdir=W] [...].

train     build features, train every fold x seed, evaluate, report (the default)
evaluate  repeat the evaluation of a trained --workdir, without training
report    rewrite report.html, report.md and the figures of a --workdir from its files;
          `report W W2 ...` compares several in comparison.html and comparison.md
predict   answer for recordings, folders, manifests or - with a trained --workdir
explain   show what a trained --workdir attends to in recordings, or (--corpus) in tests
export    write a trained --workdir as one file: --format=stablehlo, onnx, tflite or
          safetensors
"""

import importlib.util
import logging as std_logging
import sys
from pathlib import Path

# Of what the extra `train` brings, what the package alone never has.
TRAIN = (
    "array_record",
    "librosa",
    "ml_collections",
    "soundfile",
    "tensorflow_datasets",
)
if missing := [name for name in TRAIN if importlib.util.find_spec(name) is None]:
    print(
        f"error: expected the extra `train`, got an installation without "
        f"{', '.join(missing)}. Run `pip install -e '.[train]'`.",
        file=sys.stderr,
    )
    sys.exit(2)

from absl import app, flags, logging
from ml_collections import config_flags

from ser_jax import clock, huge_pages
from ser_jax.errors import InputError

config_flags.DEFINE_config_file(
    "config", None, "Config file and preset, e.g. configs/area_attn.py:demo."
)
flags.DEFINE_string("workdir", "", "Where results go; '' = runs/<config>[-<preset>].")
flags.DEFINE_string(
    "out",
    "",
    "predict: table, .csv or .jsonl (with --window a folder); explain: folder; export: "
    "file; report of several: folder.",
)
flags.DEFINE_string(
    "run",
    "",
    "predict, explain, export: fold,seed of one run; '' = the mean of all runs.",
)
flags.DEFINE_float(
    "window", 0.0, "predict: answer per window of so many seconds; 0 = per recording."
)
flags.DEFINE_float("hop", 0.5, "predict: seconds from one window to the next.")
flags.DEFINE_string(
    "labels", "", "predict: classes of a manifest's labels, raw=class,raw=class."
)
flags.DEFINE_string(
    "text", None, "predict, explain: what is said, for models that read words."
)
flags.DEFINE_bool(
    "corpus", False, "explain: average each run's test part, test by deletion."
)
flags.DEFINE_string(
    "data", "", "explain --corpus: manifest or folder of the corpus, if it has moved."
)
flags.DEFINE_string(
    "format", "stablehlo", "export: stablehlo, onnx, tflite or safetensors."
)
flags.DEFINE_float(
    "longest", 10.0, "export: onnx and tflite take recordings of so many seconds."
)


def main(argv: list[str]) -> int:
    """Dispatches the command; returns the exit code."""
    command, *given = argv[1:] or ["train"]
    if command not in COMMANDS:
        raise InputError(
            f"Expected a command of {', '.join(COMMANDS)}; got {command!r}."
        )
    if given and command not in TAKES_FILES:
        raise InputError(f"`run.py {command}` takes no more words; got {given}.")
    workdir = flags.FLAGS.workdir
    if not workdir and command != "train" and not (command == "report" and given):
        raise InputError(f"`run.py {command}` expects --workdir=..., a trained folder.")
    return COMMANDS[command](workdir, given) or 0


def _evaluate(workdir: str, _) -> None:
    _import_loop().evaluate(workdir)
    _report_one(workdir)


def _report(workdir: str, given: list[str]) -> None:
    folders = [*filter(None, [workdir]), *given]
    if len(folders) > 1:
        from ser_jax.report import report

        print(report.write_comparison(folders, flags.FLAGS.out))
    else:
        if flags.FLAGS.out:
            raise InputError("--out goes with several workdirs; one is its own place.")
        _report_one(folders[0])


def _report_one(workdir: str) -> None:
    watch = clock.current()
    timed = "evaluation" in watch.seconds()  # nothing to time if all was there
    with clock.part("report"):
        from ser_jax.report import report

        print(report.write_report(workdir, watch.seconds if timed else None))


def _predict(workdir: str, given: list[str]) -> int:
    _keep_programs()
    from ser_jax.predict import predict

    asked = flags.FLAGS
    if asked["hop"].present and not asked.window:
        raise InputError("--hop goes with --window=SECONDS; got no --window.")
    if asked.labels and asked.window:
        raise InputError("--labels scores whole recordings; leave --window out.")
    options = predict.Options(
        run=asked.run,
        out=asked.out,
        window_s=asked.window,
        hop_s=asked.hop,
        labels=asked.labels,
        text=asked.text,
    )
    return predict.predict(workdir, given, options)


def _explain(workdir: str, given: list[str]) -> int:
    _keep_programs()
    from ser_jax.explain import explain

    asked = flags.FLAGS
    if asked.corpus:
        if given:
            raise InputError(f"`explain --corpus` takes no recordings; got {given}.")
        print(
            explain.explain_corpus(
                workdir, run=asked.run, out=asked.out, data=asked.data
            )
        )
        return 0
    said, failed = explain.explain_files(
        workdir, given, run=asked.run, out=asked.out, text=asked.text
    )
    print(said)
    for line in failed:
        print(f"failed: {line}", file=sys.stderr)
    return int(bool(failed))


def _export(workdir: str, _) -> None:
    _keep_programs()
    from ser_jax.export import export

    asked = flags.FLAGS
    print(
        export.export(
            workdir,
            asked.format,
            run=asked.run,
            out=asked.out,
            longest_s=asked.longest,
        )
    )


def _train(workdir: str, _) -> None:
    config = flags.FLAGS.config
    try:
        given = config is not None and bool(config.keys())
    except OSError as error:  # the file was not found when the flag was parsed
        raise InputError(f"--config: {error}") from error
    if not given:
        raise InputError(
            "Expected --config=configs/area_attn.py (or :demo to try it without a "
            "corpus); got none."
        )
    loop = _import_loop()
    workdir = workdir or _default_workdir()
    std_logging.getLogger("ser_jax").info("Results go to %s", workdir)
    try:
        loop.train_and_evaluate(config, workdir)
    except loop.Stopped as stopped:
        print(stopped)
        return
    _report_one(workdir)


def _default_workdir() -> str:
    name, _, preset = flags.FLAGS["config"].config_filename.partition(":")
    return str(Path("runs") / "-".join(filter(None, [Path(name).stem, preset])))


def _import_loop():
    """JAX and all that trains; `--help` and `report` do without."""
    _keep_programs()
    from ser_jax.training import loop

    return loop


def _keep_programs() -> None:
    from ser_jax.training import compilation

    compilation.keep_programs()


COMMANDS = {
    "train": _train,
    "evaluate": _evaluate,
    "report": _report,
    "predict": _predict,
    "explain": _explain,
    "export": _export,
}
TAKES_FILES = ("report", "predict", "explain")


def _parse_flags(argv: list[str]) -> list[str]:
    try:
        return flags.FLAGS(argv)
    except KeyError as error:
        problem = f"Expected a config key of configs/base.py; got {error}."
    except (flags.Error, AttributeError, TypeError, ValueError, OSError) as error:
        # A config file that raises arrives as a whole traceback; its last line counts.
        problem = str(error).strip().splitlines()[-1]
    raise InputError(
        f"{problem}\nEvery key with its meaning is in configs/base.py; "
        "`python run.py --help` lists the other flags."
    )


if __name__ == "__main__":
    huge_pages.ask()
    logging.set_verbosity(logging.ERROR)  # of Orbax and TFDS, which speak a lot
    for ours in ("ser_jax", "tfds_iemocap"):
        std_logging.getLogger(ours).setLevel(std_logging.INFO)
    try:
        with clock.running():
            app.run(main, flags_parser=_parse_flags)
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        trains = len(sys.argv) < 2 or sys.argv[1].startswith(("-", "train"))
        said = "; repeat the same command to go on" if trains else ""
        print(f"Interrupted{said}.", file=sys.stderr)
        sys.exit(130)
