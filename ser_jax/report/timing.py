"""Where a job's time and memory went, in words: for the terminal and the report."""

import re
import textwrap
from collections.abc import Mapping

from ser_jax.report.document import TEXTS

PARTS = TEXTS["time_parts"]


def rows(results: Mapping) -> list[tuple[str, str, str, str]]:
    """Part, what it is, seconds, share of the total; the last row is the total."""
    seconds = _ordered(results)
    total = max(sum(seconds.values()), 1e-9)  # a job that only reports takes none
    table = []
    for part, spent in seconds.items():
        name, share = part.replace("_", " "), f"{spent / total:.0%}"
        table.append((name, PARTS.get(part, ""), f"{spent:.1f}", share))
    return [*table, ("total", "", f"{total:.1f}", "100%")]


def summary(results: Mapping) -> str:
    """The same as text of a few lines; leaves out what rounds to nothing."""
    seconds = _ordered(results)
    parts = [f"{part} {s:.1f}" for part, s in seconds.items() if s >= 0.05]
    whose = " of all members" if results.get("ensemble") else ""
    text = f"time{whose} [s]: {', '.join(parts)}; total {sum(seconds.values()):.1f}"
    # Lines break behind commas only, never between a part and its number.
    text = re.sub("(?<!,) |_", "\xa0", text)
    lines = textwrap.wrap(text, 79, subsequent_indent="  ")
    return "\n".join([*lines, *start_up(results)]).replace("\xa0", " ")


def start_up(results: Mapping) -> list[str]:
    """How the last process came to its first step; empty for old results."""
    start = results.get("start_up")
    if not start:
        return []
    line = (
        f"{start['programs']} programs, {start['from_cache']} of them from the cache."
    )
    if (first_s := start["first_step_after_s"]) is not None:
        line = f"First step {first_s:.1f} s after the start; {line}"
    return [line]


def memory(results: Mapping) -> str:
    """The most memory that was held, as a sentence; old results do not know it."""
    peaks = results.get("memory") or {}
    if not peaks.get("host_peak_bytes"):
        return "Memory: not recorded by the version that made this workdir."
    places = [f"at most {mib(peaks['host_peak_bytes'])} MiB on the host"]
    if peaks.get("device_peak_bytes"):
        places.append(f"at most {mib(peaks['device_peak_bytes'])} MiB on one device")
    return f"Memory of the process that tested, without workers: {', '.join(places)}."


def mib(num_bytes: int) -> str:
    """Whole MiB with commas."""
    return f"{num_bytes / 2**20:,.0f}"


def _ordered(results: Mapping) -> dict[str, float]:
    """The seconds in the order of `PARTS`, others after them."""
    seconds = {k: v for k, v in results["seconds"].items() if v is not None}
    seconds.pop("total", None)  # is recomputed: parts and total must agree
    return {k: seconds[k] for k in [*PARTS, *seconds] if k in seconds}
