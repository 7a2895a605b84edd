"""A function over many items by Apache Beam, on whichever runner its options name."""

import base64
import contextlib
import io
import logging
import pickle
import socket
import uuid
from collections.abc import Callable, Sequence

import apache_beam as beam
from apache_beam.io.filesystems import FileSystems
from apache_beam.options.pipeline_options import (
    PipelineOptions,
    PortableOptions,
    StandardOptions,
    WorkerOptions,
)
from apache_beam.utils.shared import Shared

from ser_jax.errors import InputError

_PATIENCE_S = 10.0
_HERE = (  # runners whose workers are processes of this machine
    "DirectRunner",
    "BundleBasedDirectRunner",
    "FnApiRunner",
    "SwitchingDirectRunner",
)
_LOUD = "default_sdk_harness_log_level=ERROR"
_log = logging.getLogger(__name__)


def parse_options(text: str) -> PipelineOptions:
    """Options as `tfds build --beam_pipeline_options` has them, `name=value,...`.

    Raises:
      InputError: One cannot be read, or there is no such runner.
    """
    said = io.StringIO()
    try:
        with contextlib.redirect_stderr(said):  # usage, a page long
            options = PipelineOptions([f"--{item}" for item in text.split(",")])
            known = options.get_all_options(drop_default=True)
            every = options.get_all_options(
                drop_default=True, retain_unknown_options=True
            )
            beam.Pipeline(options=options)  # looks for its runner
    except SystemExit as error:
        problem = said.getvalue().strip().splitlines()[-1:] or ["an option"]
        raise _refused(text, problem[0].rpartition("error: ")[2]) from error
    except Exception as error:
        raise _refused(text, " ".join(str(error).split())) from error
    # Runners behind a job server have options that only the server knows.
    runner = _runner(options)
    if "direct" in runner.lower() and (unknown := every.keys() - known.keys()):
        raise _refused(text, f"{runner} without an option {', '.join(sorted(unknown))}")
    if endpoint := options.view_as(PortableOptions).job_endpoint:
        _check_listens(text, endpoint)
    return options


def runs_here(options: PipelineOptions) -> bool:
    """Whether the workers are of this machine, and see its files, for sure."""
    name = _runner(options).rpartition(".")[2].lower()  # Beam heeds no case
    return name in [here.lower() for here in _HERE]


def _runner(options: PipelineOptions) -> str:
    return options.view_as(StandardOptions).runner or "DirectRunner"


def _check_listens(text: str, endpoint: str) -> None:
    """Beam itself waits five minutes for a job server."""
    host, _, port = endpoint.rpartition(":")
    if not port.isdecimal():  # a word of Beam's, such as `embed`
        return
    try:
        socket.create_connection((host, int(port)), timeout=_PATIENCE_S).close()
    except OSError as error:
        problem = f"no job server at {endpoint}: {error.strerror or error}"
        raise _refused(text, problem) from error


def _refused(text: str, problem: str) -> InputError:
    return InputError(
        f"--beam={text}: expected options of Apache Beam, name=value,..., got {problem}"
    )


class BeamMap:
    """Runs functions over items; what lies in between is kept in one folder.

    Workers share nothing but file systems: they must see the items' files, and the
    folder, by the same names.
    """

    def __init__(self, options: PipelineOptions | None, runner, folder: str):
        """`options` and `runner` are what `beam.Pipeline` takes; `folder` is made."""
        self._options, self._runner = options or PipelineOptions([]), runner
        self._folder = folder
        # Else pages of traces come before our line.
        workers = self._options.view_as(WorkerOptions)
        self._quiet = workers.default_sdk_harness_log_level is None
        if self._quiet:
            workers.default_sdk_harness_log_level = "CRITICAL"

    def __call__(self, name: str, make: Callable[[], Callable], items: Sequence):
        """What the function that `make` returns gives of each item, in their order.

        Args:
          name: Of the step, in messages and in the folder.
          make: Called once in every worker process, where it may load what is large.
          items: Any that can be pickled, as must be what comes back. A runner may repeat
            any, also at the same time.

        Raises:
          InputError: The function raised it, or the pipeline failed.
        """
        place = FileSystems.join(self._folder, f"{name.lower()}_{uuid.uuid4().hex}")
        FileSystems.mkdirs(place)
        todo, done = (FileSystems.join(place, x) for x in ("items", "results"))
        # A file, since runners refuse large programs, of which `beam.Create` is a part.
        with FileSystems.create(todo) as file:
            file.writelines(map(_line, enumerate(items)))
        _log.info("%s: %d items on %s.", name, len(items), self._runner_name())
        with _in_one_line(name, self._quiet):
            pipeline = beam.Pipeline(runner=self._runner, options=self._options)
            with pipeline:
                _ = (
                    pipeline
                    | "Items" >> beam.io.ReadFromText(todo)
                    | "Spread" >> beam.Reshuffle()
                    | name >> beam.ParDo(_Work(make))
                    | "Results" >> beam.io.WriteToText(done)
                )
        found = dict(_read(done))
        results = [found[number] for number in range(len(items))]
        for result in results:
            if isinstance(result, InputError):
                raise result
        return results

    def _runner_name(self) -> str:
        if self._runner is not None:
            return type(self._runner).__name__
        return _runner(self._options)


class _Work(beam.DoFn):
    """Calls the function, which all threads of a process share."""

    def __init__(self, make: Callable[[], Callable]):
        self._make, self._shared = make, Shared()

    def setup(self):
        self._fault = None
        try:
            self._function = self._shared.acquire(self._make)
        except InputError as error:
            self._fault = error

    def process(self, element: str):
        number, item = _item(element)
        yield _line((number, self._result(item))).decode().rstrip()

    def _result(self, item):
        """What the function gives, or an InputError.

        One that was raised would be tried again, and come with pages of traces.
        """
        try:
            return self._fault or self._function(item)
        except InputError as error:
            return error


def _line(value) -> bytes:
    return base64.b64encode(pickle.dumps(value)) + b"\n"


def _item(line: str | bytes):
    return pickle.loads(base64.b64decode(line))


def _read(prefix: str):
    """Items of all files that begin so."""
    (match,) = FileSystems.match([f"{prefix}-*"])
    for metadata in match.metadata_list:
        with FileSystems.open(metadata.path) as file:
            yield from map(_item, file.read().splitlines())


@contextlib.contextmanager
def _in_one_line(name: str, quiet: bool):
    """What a pipeline raises, which may be a page of workers' traces, in one line."""
    logger = logging.getLogger("apache_beam")
    level = logger.level
    try:
        if quiet:
            logger.setLevel(logging.CRITICAL)
        yield
    except Exception as error:
        # A worker's trace ends with what went wrong.
        text = (str(error).strip() or type(error).__name__).splitlines()[-1].strip()
        raise InputError(
            f"{name} with Apache Beam: expected the pipeline to finish, got: {text} "
            f"(the option {_LOUD} shows what the workers said). Repeat the command."
        ) from error
    finally:
        logger.setLevel(level)
