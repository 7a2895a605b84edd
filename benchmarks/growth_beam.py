"""A build by Beam's workers takes time in proportion to the corpus, and no more memory.

The corpora of `growth.py`, noise with IEMOCAP's durations at x1, x4 and x16 of a base
size, each with IEMOCAP's longest turn twice, are built (`logmel128`, 7 VTLP copies) by
two worker processes of Beam's DirectRunner, every row in processes of its own. Measured:

- `build`: all of it, with the start of two pipelines and their workers;
- `CPU`: seconds of all cores and processes for the same; and, less those of the start
  (a build of the longest turns alone), per hour of speech;
- `worker`: the largest resident memory of any worker (VmHWM), with the libraries;
- `driver`: that of the process that runs the command. It has DirectRunner in itself, and
  keeps a sketch of every recording, 0.8 kB per second, to find copies of takes.

Checked in every mode: at x1 the records are those of the build without Beam, bit for
bit. Bar: at x16 a worker's memory is at most a tenth above that at x1.

    python -m benchmarks.growth_beam [--quick] [--out=growth_beam.json]

Needs 8 GB below $TMPDIR without --quick.
"""

import functools
import hashlib
import json
import resource
import sys
import time
from pathlib import Path

from benchmarks import growth, measure

WORKERS = 2
OPTIONS = (
    "runner=DirectRunner,direct_running_mode=multi_processing,"
    f"direct_num_workers={WORKERS}"
)


def workers_mib() -> float:
    """Largest resident memory so far of any process below this one."""
    import psutil  # TFDS brings it

    below = psutil.Process().children(recursive=True)
    return max((growth.status_mib("VmHWM", x.pid) for x in below), default=0.0)


def build(folder: Path, num: int, quick: bool) -> dict:
    """Writes a corpus and builds its dataset by Beam."""
    from ser_jax.datasets import build

    folder.mkdir()
    hours = growth.write_corpus(folder, num, [growth.LONGEST_S] * WORKERS)
    data = growth.config_of(folder, quick).data
    start = time.perf_counter()
    with growth.Peak(workers_mib) as workers:
        directory = build.ensure_built(data, beam=OPTIONS)
    return {
        "hours": hours,
        "build": time.perf_counter() - start,
        "cpu": cpu_s(),
        "worker_mib": workers.mib,
        "driver_mib": growth.status_mib("VmHWM"),
        "records_mib": growth.size_mib(Path(directory).glob("*array_record*")),
        "digest": digest_of(directory),
    }


def cpu_s() -> float:
    """Seconds that this process and those below it, which have ended, computed."""
    who = (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    usages = [resource.getrusage(x) for x in who]
    return sum(x.ru_utime + x.ru_stime for x in usages)


def build_here(folder: Path, quick: bool) -> dict:
    """Builds the corpus that is there without Beam."""
    from ser_jax.datasets import build

    data = growth.config_of(folder, quick).data
    data.tfds_dir += "_here"
    return {"digest": digest_of(build.ensure_built(data))}


def digest_of(directory: str) -> str:
    """Of all records, in whatever order they lie."""
    from array_record.python.array_record_data_source import ArrayRecordDataSource

    digests = []
    for path in sorted(Path(directory).glob("*array_record*")):
        source = ArrayRecordDataSource([str(path)])
        digests += [hashlib.sha256(source[i]).digest() for i in range(len(source))]
    return hashlib.sha256(b"".join(sorted(digests))).hexdigest()


@functools.cache
def in_child(kind: str, folder: str, quick: bool, *rest: str) -> dict:
    """What `child` finds in a process of its own."""
    module, flag = "benchmarks.growth_beam", str(int(quick))
    return measure.in_new_process(module, "child", kind, folder, *rest, flag)


def row_of(factor: int, parent: Path, quick: bool) -> dict:
    """One corpus; the others stand beside the start alone and the smallest."""
    base = 24 if quick else growth.BASE
    start = in_child("beam", f"{parent}/start", quick, "0")
    smallest = in_child("beam", f"{parent}/x1", quick, str(base))
    found = in_child("beam", f"{parent}/x{factor}", quick, str(factor * base))
    here = in_child("here", f"{parent}/x1", quick)
    if here["digest"] != smallest["digest"]:
        raise SystemExit("Beam's workers wrote other records")
    if factor == max(growth.FACTORS):
        check_memory(smallest["worker_mib"], found["worker_mib"])
    seconds = found["cpu"] - start["cpu"]
    return {
        "case": f"x{factor}, {factor * base} turns",
        "speech [h]": found["hours"],
        "build [s]": found["build"],
        "CPU [s]": found["cpu"],
        "CPU [s/h]": seconds / (found["hours"] - start["hours"]),
        "records [MiB]": found["records_mib"],
        "worker [MiB]": found["worker_mib"],
        "driver [MiB]": found["driver_mib"],
    }


def check_memory(smallest_mib: float, largest_mib: float) -> None:
    """Ends the program if workers need more for a larger corpus."""
    if largest_mib > 1.1 * smallest_mib:
        raise SystemExit(f"workers grow: {smallest_mib} to {largest_mib} MiB")


def cases(quick: bool, folder: Path) -> list[measure.Case]:
    """A case per corpus."""
    return [
        measure.Case(f"x{factor}", functools.partial(row_of, factor, folder, quick))
        for factor in (growth.FACTORS[:1] if quick else growth.FACTORS)
    ]


def child(kind: str, folder: str, *rest: str) -> dict:
    """One measurement in a process of its own."""
    quick = bool(int(rest[-1]))
    if kind == "beam":
        return build(Path(folder), int(rest[0]), quick)
    return build_here(Path(folder), quick)


if __name__ == "__main__":
    if sys.argv[1:2] == ["child"]:
        print(json.dumps(child(*sys.argv[2:])))
    else:
        packages = ("apache-beam", "tensorflow-datasets", "numpy", "librosa")
        measure.main(cases, doc=__doc__, name="growth_beam", packages=packages)
