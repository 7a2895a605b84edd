"""The only entry: python run.py [COMMAND] [--config=configs/NAME.py[:PRESET]] [--workdir=W] [...].

train     build features, train every fold x seed, evaluate, report (the default)
build     build the features that `train` would, and say where; --beam=OPTIONS: in parallel,
          by Apache Beam
evaluate  repeat the evaluation of a trained --workdir, without training; with
          --corpus=NAME --root=DIR, or --manifest=M, test it on that other corpus
report    rewrite report.html, report.md and the figures of a --workdir from its files;
          `report W W2 ...` compares several in comparison.html and comparison.md
predict   answer for recordings, folders, manifests or - with a trained --workdir
explain   show what a trained --workdir attends to in recordings, or (--corpus) in tests
export    write a trained --workdir as one file: --format=stablehlo, onnx, tflite or
          safetensors
baseline  a linear SVM on the folds of a trained --workdir, whose row then stands in its
          table and report; --features=functionals, compare or egemaps
ensemble  `ensemble W W2 ... --out=FOLDER` averages the posteriors of workdirs that tested
          the same, --weights=equal, validation or best; FOLDER is reported like a workdir
corpora   list the public corpora that have a name; `corpora NAME --root=DIR`, where NAME
          is one of them or a manifest's path, looks at one before training
"""

import contextlib
import functools
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

from ser_jax import bucket, clock, command_line, ending, huge_pages, terminal
from ser_jax.errors import InputError

TAKES_FILES = ("report", "predict", "explain", "corpora", "ensemble")
NEEDS_NO_WORKDIR = ("train", "build", "corpora", "ensemble")
ON_HOSTS = ("train", "evaluate")
NEEDS_NO_JAX = ("report", "corpora", "baseline", "ensemble")


def define_flags(values: flags.FlagValues) -> None:
    """Defines the command line in `flags.FLAGS` or, for tests, in a set of its own."""
    string = functools.partial(flags.DEFINE_string, flag_values=values)
    number = functools.partial(flags.DEFINE_float, flag_values=values)
    whole = functools.partial(flags.DEFINE_integer, flag_values=values)
    config_flags.DEFINE_config_file(
        "config",
        None,
        "Config file and preset, e.g. configs/area_attn.py:demo.",
        flag_values=values,
    )
    string("workdir", "", "Where results go; '' = runs/<config>[-<preset>].")
    string(
        "out",
        "",
        "predict: table, .csv or .jsonl (with --window a folder); explain: folder; "
        "export: file; report of several, ensemble: folder; corpora: folder of the page, "
        "or manifest, .csv.",
    )
    string("beam", "", "build: Apache Beam's options, runner=DirectRunner,...")
    string("run", "", "predict, explain, export: fold,seed; '' = mean of all runs.")
    number("window", 0.0, "predict: seconds per answer; 0 = one per recording.")
    number("hop", 0.5, "predict: seconds from one window to the next.")
    string(
        "labels",
        "",
        "predict, evaluate: classes of another corpus's labels, raw=class,raw=...",
    )
    string("text", None, "predict, explain: what is said, for models that read words.")
    string(
        "corpus",
        "",
        "explain --corpus: average each run's test part, test by deletion; evaluate "
        "--corpus=NAME: the other corpus to test on.",
    )
    values["corpus"].boolean = True  # so that it may stand without a value
    string(
        "manifest", "", "evaluate: the other corpus to test on, as a manifest, .csv."
    )
    string("name", "", "evaluate: what to call the other corpus; '' = as it is called.")
    string(
        "data",
        "",
        "evaluate, baseline, explain --corpus: where the trained corpus has moved.",
    )
    string(
        "features",
        "functionals",
        "baseline: functionals (ours), or with the extra opensmile compare or egemaps.",
    )
    string(
        "root",
        "",
        "corpora, evaluate --corpus=NAME: folder of the corpus; '' = its variable, "
        "NAME_ROOT.",
    )
    string(
        "weights",
        "equal",
        "ensemble: equal; validation, the best of each fold; best, its best member.",
    )
    string("format", "stablehlo", "export: stablehlo, onnx, tflite or safetensors.")
    number("longest", 10.0, "export: seconds that onnx and tflite can take.")
    string(
        "coordinator",
        "",
        "train, evaluate on several hosts: HOST:PORT of process 0; '' = detected on Cloud "
        "TPU and under Slurm, auto = also elsewhere, none = a training of its own.",
    )
    whole(
        "num_processes", None, "train, evaluate: processes of the job; none = detected."
    )
    whole("process_id", None, "train, evaluate: this one, from 0; none = detected.")


def main(argv: list[str], values: flags.FlagValues = flags.FLAGS) -> int:
    """Dispatches the command; returns the exit code.

    Args:
      argv: What is left of the command line without its flags.
      values: The parsed flags.

    Raises:
      InputError: The command line, or what it names, cannot be used.
    """
    command, *files = argv[1:] or ["train"]
    if command not in COMMANDS:
        raise InputError(
            f"Expected one of the commands {', '.join(COMMANDS)}; got {command!r}."
        )
    if files and command not in TAKES_FILES:
        hint = " Write --corpus=NAME." if values.corpus == "true" else ""
        raise InputError(
            f"`run.py {command}` takes no further arguments; got {files}.{hint}"
        )
    if values.beam and command != "build":
        raise InputError(f"--beam goes with `run.py build`; got {command!r}.")
    names_folders = command == "report" and files
    if not (values.workdir or command in NEEDS_NO_WORKDIR or names_folders):
        expected = "W1 W2 ... or " if command == "report" else ""
        raise InputError(
            f"`run.py {command}` expects {expected}--workdir=..., a trained folder."
        )
    if command not in NEEDS_NO_JAX:
        from ser_jax.training import compilation

        compilation.keep_programs()
    with _hosts(command, values):
        return COMMANDS[command](values, files) or 0


def _hosts(command: str, values):
    """Joins the other processes of this job, if there are any."""
    names = ("coordinator", "num_processes", "process_id")
    if command not in ON_HOSTS or values.corpus or values.manifest:
        if given := [f"--{name}" for name in names if values[name].present]:
            raise InputError(
                f"{', '.join(given)}: expected `train`, or `evaluate` on the trained corpus; "
                f"got `{command}`, which works in one process."
            )
        return contextlib.nullcontext()
    from ser_jax.training import hosts

    return hosts.joined(*(values[name].value for name in names))


# The commands import what they need when they are called: `--help` takes 0.1 s.


def _build(values, _) -> None:
    config = command_line.config_of(values)
    from ser_jax.datasets import build
    from ser_jax.training import loop

    for folder in loop.build(config, values.beam):
        print(build.describe(folder, config.data))


def _train(values, _) -> None:
    config = command_line.config_of(values)
    from ser_jax.training import hosts, loop

    workdir = values.workdir or _default_workdir(values)
    std_logging.getLogger("ser_jax").info("Results go to %s", workdir)
    try:
        loop.train_and_evaluate(config, workdir)
    except loop.Stopped as stopped:
        print(stopped)
        return
    if not hosts.is_first():
        return
    if config.train.baseline:
        from ser_jax.baseline import baseline

        baseline.ensure(workdir)
    _report_one(workdir)


def _default_workdir(values) -> str:
    name, _, preset = values["config"].config_filename.partition(":")
    return str(Path("runs") / "-".join(filter(None, [Path(name).stem, preset])))


def _evaluate(values, _) -> None:
    if values.corpus or values.manifest:
        return _evaluate_elsewhere(values)
    if given := [f"--{x}" for x in ("root", "name", "labels") if values[x].value]:
        raise InputError(
            f"{' and '.join(given)}: expected --corpus=NAME or --manifest=M beside it, "
            "another corpus to test on; --data=... says where the trained one has moved."
        )
    from ser_jax.training import hosts, loop

    loop.evaluate(values.workdir, values.data)
    if hosts.is_first():
        _report_one(values.workdir)


def _evaluate_elsewhere(values) -> None:
    corpus, manifest = values.corpus, values.manifest
    if bool(corpus) == bool(manifest) or corpus in ("true", "false") or values.data:
        given = (x for x in ("corpus", "manifest", "data") if values[x].value)
        raise InputError(
            "evaluate: expected --corpus=NAME with --root=DIR, or --manifest=M, without "
            f"--data; got {' '.join(f'--{x}={values[x].value}' for x in given)}."
        )
    from ser_jax.predict import cross_corpus
    from ser_jax.report import report

    options = {name: values[name].value for name in ("root", "name", "labels")}
    scores = cross_corpus.evaluate(values.workdir, corpus or manifest, **options)
    print(report.write_cross_corpus(values.workdir, scores["name"]))


def _baseline(values, _) -> None:
    from ser_jax.baseline import baseline

    baseline.run(values.workdir, values.features, values.data)
    _report_one(values.workdir)


def _report(values, folders: list[str]) -> None:
    from ser_jax.report import report

    folders = [*filter(None, [values.workdir]), *folders]
    if len(folders) > 1:
        print(report.write_comparison(folders, values.out))
    elif values.out:
        raise InputError("--out goes with several workdirs; one is reported in itself.")
    else:
        _report_one(folders[0])


def _report_one(workdir: str) -> None:
    watch = clock.current()
    timed = "evaluation" in watch.seconds()  # nothing to time if all was there
    with clock.part("report"):
        from ser_jax.report import report

        print(report.write_report(workdir, watch.seconds if timed else None))


def _ensemble(values, folders: list[str]) -> None:
    from ser_jax.ensemble import ensemble

    folders = [*filter(None, [values.workdir]), *folders]
    ensemble.run(folders, values.out, values.weights)
    _report_one(values.out)


def _predict(values, files: list[str]) -> int:
    from ser_jax.predict import predict

    if values["hop"].present and not values.window:
        raise InputError("--hop goes with --window=SECONDS; got no --window.")
    if values.labels and values.window:
        raise InputError("--labels scores whole recordings; leave --window out.")
    return predict.predict(
        values.workdir,
        files,
        run=values.run,
        out=values.out,
        window_s=values.window,
        hop_s=values.hop,
        labels=values.labels,
        text=values.text,
    )


def _explain(values, files: list[str]) -> int:
    from ser_jax.explain import explain

    workdir, where = values.workdir, {"run": values.run, "out": values.out}
    if values.corpus not in ("", "true", "false"):
        raise InputError(
            "`explain --corpus` takes no name: it explains tests of the corpus trained "
            f"on; got {values.corpus!r}."
        )
    if values.corpus == "true":
        if files:
            raise InputError(f"`explain --corpus` takes no recordings; got {files}.")
        print(explain.explain_corpus(workdir, data=values.data, **where))
        return 0
    summary, failed = explain.explain_files(workdir, files, text=values.text, **where)
    print(summary)
    for line in failed:
        print(f"failed: {line}", file=sys.stderr)
    return int(bool(failed))


def _export(values, _) -> None:
    from ser_jax.export import export

    print(
        export.export(
            values.workdir,
            values.format,
            run=values.run,
            out=values.out,
            longest_s=values.longest,
        )
    )


def _corpora(values, names: list[str]) -> None:
    from ser_jax.report import corpus_report

    if not names:
        if values.root or values.out:
            raise InputError("--root and --out go with `run.py corpora NAME`.")
        print(corpus_report.listing())
        return
    if len(names) > 1:
        raise InputError(f"`run.py corpora` looks at one corpus; got {names}.")
    print(corpus_report.look(names[0], values.root, values.out))


COMMANDS = {
    "train": _train,
    "build": _build,
    "evaluate": _evaluate,
    "report": _report,
    "predict": _predict,
    "explain": _explain,
    "export": _export,
    "baseline": _baseline,
    "ensemble": _ensemble,
    "corpora": _corpora,
}


def parse_flags(argv: list[str], values: flags.FlagValues = flags.FLAGS) -> list[str]:
    """Reads the flags; returns the other words.

    Raises:
      InputError: A flag, the config file or one of its keys is wrong.
    """
    try:
        return values(argv)
    except (Exception, SystemExit) as error:
        problem = command_line.config_fault(argv, error)
        if not problem and isinstance(error, SystemExit):  # --help
            raise
        problem = problem or command_line.flag_fault(argv, error)
    raise InputError(
        f"{problem}\nEvery key with its meaning is in configs/base.py; "
        "`python run.py --help` lists the other flags."
    )


if __name__ == "__main__":
    terminal.prepare()
    huge_pages.ask()
    # Orbax and TFDS log a lot, and the tracebacks of errors that they raise as well.
    logging.set_verbosity(logging.FATAL)
    for ours in ("ser_jax", "tfds_iemocap"):
        std_logging.getLogger(ours).setLevel(std_logging.INFO)
    define_flags(flags.FLAGS)
    with ending.told(), clock.running(), terminal.flushed(), bucket.faults():
        app.run(main, flags_parser=parse_flags)
