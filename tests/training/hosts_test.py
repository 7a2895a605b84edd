"""Several processes train as one does; one that dies ends the others."""

import json
import signal
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from ser_jax.data.batches import Index
from ser_jax.errors import HostLost, InputError
from ser_jax.training import experiment as experiment_lib
from ser_jax.training import feeder, hosts, joining, loop, runs
from tests.training import jobs
from tests.training.common import curves_of, figures_of, posteriors_of, stop_after

DIED = "error: another process of this job has ended or cannot be reached"
SLURM = {
    "SLURM_JOB_ID": "7",
    "SLURM_STEP_NODELIST": "node[003-004]",
    "SLURM_NTASKS": "2",
    "SLURM_PROCID": "1",
    "SLURM_LOCALID": "0",
}


@pytest.fixture
def job(tones, datasets, tmp_path):
    """`job(processes, **special)`, see `jobs.run`, in `tmp_path / "w"`."""
    config = jobs.write_config(tmp_path / "quick.py", tones, datasets)
    return lambda *args, **special: jobs.run(config, tmp_path / "w", *args, **special)


def _errors(output: str) -> list[str]:
    """Our lines about a failure, and those of a stack trace.

    What jaxlib logs beside them depends on who notices first.
    """
    signs = ("Traceback", "terminate", "Check failure", "    @ ")
    return [
        line
        for line in output.splitlines()
        if line.startswith("error: ") or any(x in line for x in signs)
    ]


@pytest.mark.slow
def test_a_job_goes_on_on_other_numbers_of_hosts_and_ends_as_one_process(
    job, quick_workdir, quick_config, tmp_path, monkeypatch
):
    """Folds of 9 to 11 updates; two processes take three rounds, four take two."""
    workdir = tmp_path / "w"
    # One host's SIGTERM stops both after the same call.
    for code, output in job(2, who=1, signal=signal.SIGTERM, call=3):
        assert code == 0 and "Stopped by SIGTERM in epoch 1; saved" in output
    # The coordinator dies in the second epoch, the checkpoint of the first perhaps torn.
    (first, _), (code, output) = job(2, who=0, signal=signal.SIGKILL, call=15)
    assert (first, code) == (-signal.SIGKILL, 1)
    assert "Resuming after 0 of 2 epochs" in output
    (line,) = _errors(output)
    assert line.startswith(DIED)
    assert not (workdir / "results.json").exists()
    with monkeypatch.context() as patch:
        stop_after(patch, 2)
        with pytest.raises(loop.Stopped, match="SIGTERM in epoch"):
            loop.train_and_evaluate(quick_config, str(workdir))
    outputs = job(4)
    assert [code for code, _ in outputs] == [0] * 4
    told = ["pooled UA" in output for _, output in outputs]
    assert told == [True, False, False, False]  # one host reports
    assert curves_of(workdir) == curves_of(quick_workdir)
    assert figures_of(workdir) == figures_of(quick_workdir)
    np.testing.assert_array_equal(posteriors_of(workdir), posteriors_of(quick_workdir))


@pytest.mark.slow
def test_a_host_that_dies_or_fails_ends_the_others_with_one_line(job):
    (code, output), (second, _) = job(2, who=1, signal=signal.SIGKILL, call=2)
    assert (code, second) == (1, -signal.SIGKILL)
    (line,) = _errors(output)
    assert line.startswith(DIED) and "Repeat the same command" in line
    (code, output), (second, own) = job(2, who=1, flag="--config.data.manifest=/no.csv")
    assert (code, second) == (1, 2)
    (line,), (reason,) = _errors(output), _errors(own)
    assert line.startswith("error: process 1 on ")
    assert line.endswith(reason.removeprefix("error: ")) and "/no.csv" in reason


def _arguments(monkeypatch, environment, *asked):
    for name in (*SLURM, "SLURM_STEP_NUM_TASKS", "OMPI_MCA_orte_hnp_uri"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    return joining.arguments(*asked)


@pytest.mark.parametrize(
    ("environment", "asked"),
    [
        ({}, ("", None, None)),  # a laptop
        ({}, ("none", None, None)),
        ({}, ("localhost:1234", 1, 0)),
        (SLURM | {"SLURM_NTASKS": "1", "SLURM_PROCID": "0"}, ("", None, None)),
        # One task, started by itself within an allocation for two.
        (SLURM | {"SLURM_STEP_NUM_TASKS": "1"}, ("", None, None)),
        ({k: SLURM[k] for k in SLURM if "STEP" not in k}, ("", None, None)),  # sbatch
        (SLURM, ("none", None, None)),
    ],
)
def test_a_process_alone_joins_nothing(monkeypatch, environment, asked):
    assert _arguments(monkeypatch, environment, *asked) is None


@pytest.mark.parametrize("asked", ["", "auto"])
def test_slurm_tells_the_processes_of_a_job(monkeypatch, asked):
    found = _arguments(monkeypatch, SLURM, asked, None, None)
    host, port = found.pop("coordinator_address").split(":")
    assert host == "node003" and 2**15 < int(port) < 2**16
    assert found == {"num_processes": 2, "process_id": 1}
    found = _arguments(monkeypatch, SLURM, "here:99", None, None)
    assert found["coordinator_address"] == "here:99"


@pytest.mark.parametrize(
    ("asked", "match"),
    [
        (("auto", None, None), "a cluster that tells them"),
        (("", 2, 0), "Expected --coordinator=HOST:PORT"),
        (("here:99", 2, None), "got --num_processes=2 --process_id=None"),
        (("here:99", 2, 2), "--process_id from 0 to N - 1"),
        (("here", 2, 0), "expected HOST:PORT; got 'here'"),
    ],
)
def test_incomplete_jobs_are_refused(monkeypatch, asked, match):
    with pytest.raises(InputError, match=match):
        _arguments(monkeypatch, {}, *asked)


def test_hosts_read_segments_of_their_own_runs_only(quick_config, monkeypatch):
    quick_config.data.frames_on, quick_config.train.devices = "host", 5
    experiment = experiment_lib.prepare(quick_config)
    placement = runs.place(5, num_devices=5)
    fed = feeder.Feeder(experiment, placement, quick_config.data)
    start = np.arange(10, dtype=np.int32).reshape(5, 1, 2)
    part = Index(start, start, start, start, np.ones(start.shape, np.float32))
    everything = fed._cut("frames", part, 4)
    table, read = type(experiment.frame_table), []
    cut = table.segments
    monkeypatch.setattr(
        table,
        "segments",
        lambda self, rows, t: (read.append(rows), cut(self, rows, t))[1],
    )
    here = np.array([False, True, False, True, False])
    monkeypatch.setattr(runs.Placement, "held_here", lambda self: here)
    mine = fed._cut("frames", part, 4)
    np.testing.assert_array_equal(read, [start[here]])
    np.testing.assert_array_equal(mine[here], everything[here])
    assert mine.shape == everything.shape and not mine[~here].any()


@pytest.mark.parametrize(
    ("messages", "match"),
    [
        ([{"value": 1}, {"value": 1}], None),
        ([{"value": 1}, {"value": 2}], "process 1 has other than process 0"),
        ([{"value": 1}, {"failed": "no disk", "host": "b"}], "1 on b ended .* no disk"),
    ],
)
def test_what_hosts_say_decides_the_same_on_all(monkeypatch, messages, match):
    monkeypatch.setattr(joining, "_joined", True)
    monkeypatch.setattr(
        hosts, "_meet", lambda message: json.loads(json.dumps(messages))
    )
    try:
        if match is None:
            hosts.agree("number", 1, "Count again.")
        else:
            with pytest.raises((InputError, HostLost), match=match):
                hosts.agree("number", 1, "Count again.")
    finally:
        joining.leaving.clear()


@pytest.fixture
def two_hosts(monkeypatch):
    """`two_hosts(function, a, b)`: what each raised of `function(a)`, `function(b)`."""
    values, barrier, own = [None, None], threading.Barrier(2), threading.local()

    def share(value):
        values[own.number] = value
        barrier.wait()
        found = list(values)
        barrier.wait()  # nobody brings the next value before all have read
        return found

    def both(function, *arguments):
        def one(number):
            own.number = number
            try:
                function(arguments[number])
            except InputError as error:
                return str(error)

        with ThreadPoolExecutor(2) as pool:
            return list(pool.map(one, (0, 1)))

    monkeypatch.setattr(hosts, "share", share)
    return both


def test_hosts_with_other_configs_or_corpora_refuse_on_all(two_hosts, quick_config):
    other = quick_config.copy_and_resolve_references()
    assert two_hosts(hosts.check_same_config, quick_config, other) == [None, None]
    other.train.epochs = 7
    first, second = two_hosts(hosts.check_same_config, quick_config, other)
    assert first == second
    assert "train.epochs: here 2, asked for 7\nStart the same command" in first
    other.train.epochs, other.train.steps_per_call = 2, 7
    first, second = two_hosts(hosts.check_same_config, quick_config, other)
    assert first == second and "only changes the speed" in first
    splits = {"classes": ["a", "b"]}
    assert two_hosts(hosts.check_same_corpus, splits, dict(splits)) == [None, None]
    first, second = two_hosts(hosts.check_same_corpus, splits, {"classes": ["b", "a"]})
    assert first == second and "the same corpus on all hosts" in first


def test_every_host_needs_a_device(monkeypatch):
    monkeypatch.setattr(runs.jax, "process_count", lambda: 2)
    with pytest.raises(InputError, match="some of each of 2 processes"):
        runs.place(3, num_devices=2)
