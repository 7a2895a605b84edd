"""Where a job's time and memory went, in words: for the terminal and for report.md."""

import textwrap
from collections.abc import Mapping

# Parts in the order of the job, as `ser_jax.clock` names them.
PARTS = {
    "start": "imports, flags, checking the config",
    "corpus": "speaking the demo corpus",
    "features": "computing and storing the features",
    "load": "opening the dataset; folds, windows, statistics",
    "model": "creating all runs' states, placing them on the devices",
    "compile": "tracing and compiling programs, or reading them from the cache",
    "first_step": "the first training step, compiled",
    "training": "all other training steps",
    "validation": "scoring the runs after each epoch, keeping the better states",
    "checkpoints": "writing and reading checkpoints",
    "logs": "TensorBoard events; opens the library at the first epoch's end",
    "evaluation": "testing the kept states",
    "report": "figures",
    "other": "none of these",
}
EXPLAINED = (
    "Wall-clock seconds, each in one part. Processes that were stopped count up to "
    "their last checkpoint."
)


def rows(results: Mapping) -> list[tuple[str, str, str, str]]:
    """Part, what it is, seconds, share of the total; the last row is the total."""
    seconds, total = _ordered(results), _total(results)
    found = [
        (_name(part), PARTS.get(part, ""), f"{spent:.1f}", f"{spent / total:.0%}")
        for part, spent in seconds.items()
    ]
    return [*found, ("total", "", f"{total:.1f}", "100%")]


def summary(results: Mapping) -> str:
    """The same as text of a few lines; leaves out what rounds to nothing."""
    parts = [
        f"{_name(part)} {spent:.1f}"
        for part, spent in _ordered(results).items()
        if spent >= 0.05
    ]
    said = f"time [s]: {', '.join(parts)}; total {_total(results):.1f}"
    # No line breaks between a part and its number.
    lines = textwrap.wrap(
        said.replace(" ", "\xa0").replace(",\xa0", ", "), 79, subsequent_indent="  "
    )
    return "\n".join([*lines, *started(results)]).replace("\xa0", " ")


def started(results: Mapping) -> list[str]:
    """How the last process came to its first step; empty for old results."""
    found = results.get("start_up")
    if not found:
        return []
    said = (
        f"{found['programs']} programs, {found['from_cache']} of them from the cache."
    )
    if found["first_step_after_s"] is None:
        return [said]
    return [f"First step {found['first_step_after_s']:.1f} s after the start; {said}"]


def _ordered(results: Mapping) -> dict[str, float]:
    """The seconds in the order of `PARTS`, others after them."""
    found = {k: v for k, v in results["seconds"].items() if v is not None}
    found.pop("total", None)
    return {k: found[k] for k in [*PARTS, *found] if k in found}


def _total(results: Mapping) -> float:
    return max(sum(_ordered(results).values()), 1e-9)


def _name(part: str) -> str:
    return part.replace("_", " ")


def memory(results: Mapping) -> str:
    """The most memory that was held, as a sentence; old results do not know it."""
    found = results.get("memory") or {}
    if not found.get("host_peak_bytes"):
        return "Memory: not recorded by the version that made this workdir."
    said = f"Memory: at most {_mib(found['host_peak_bytes'])} on the host"
    if found.get("device_peak_bytes"):
        said += f", at most {_mib(found['device_peak_bytes'])} on one device"
    return f"{said}. Of the process that tested; its workers are not counted."


def _mib(number: int) -> str:
    return f"{number / 2**20:,.0f} MiB"
