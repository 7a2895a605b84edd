"""Reads programs that XLA compiled for a GPU: kernels, loops, bytes, convolutions.

XLA's own cost analysis takes the body of a loop once, and all of an array of which a
kernel reads one slice; both count here as often and as much as they happen.
"""

import dataclasses
import math
import re
from typing import NamedTuple

# Instructions that are kernels; the others are bookkeeping.
KERNEL = {"fusion", "copy", "custom-call", "dot", "convolution", "reduce", "transpose"}
KERNEL |= {"scatter", "gather", "sort", "dynamic-slice", "dynamic-update-slice"}
BYTES = {"pred": 1, "s8": 1, "u8": 1, "f16": 2, "bf16": 2, "s64": 8, "u64": 8, "f64": 8}


@dataclasses.dataclass(frozen=True)
class Cost:
    """What a program does.

    Attributes:
      kernels: How many it starts.
      moved: Bytes that they read and write.
      in_loops: How many of the kernels stand in loops.
      loops: Turns and kernels per turn of each loop.
      grouped: Convolutions with more than one group, of all kernels.
    """

    kernels: int = 0
    moved: int = 0
    in_loops: int = 0
    loops: tuple[tuple[int, int], ...] = ()
    grouped: int = 0

    def __add__(self, other: "Cost") -> "Cost":
        fields = dataclasses.fields(self)
        return Cost(*(getattr(self, f.name) + getattr(other, f.name) for f in fields))

    def repeated(self, turns: int) -> "Cost":
        """A loop with this body."""
        kernels = turns * self.kernels
        loops = ((turns, self.kernels), *self.loops)
        return Cost(kernels, turns * self.moved, kernels, loops, turns * self.grouped)


class Instruction(NamedTuple):
    """One line of a computation."""

    root: bool
    name: str
    kind: str  # the shape of its result, or a tuple of them
    operation: str
    rest: str  # operands, attributes

    @property
    def operands(self) -> list[str]:
        return re.findall(r"%([\w.\-]+)", self.rest.split(")")[0])

    def called(self, role: str) -> str:
        """The computation it calls."""
        return re.search(rf"{role}=%([\w.\-]+)", self.rest)[1]


Computations = dict[str, list[Instruction]]


def read(text: str) -> Cost:
    """What a compiled program does, `compiled.as_text()`."""
    computations, entry = parse(text)
    return _cost(computations, entry)


def parse(text: str) -> tuple[Computations, str]:
    """All computations by name, and the name of the first to run."""
    computations: Computations = {}
    entry = ""
    for line in text.splitlines():
        if start := re.match(r"(ENTRY )?%([\w.\-]+) \(.*\{$", line):
            current = computations.setdefault(start[2], [])
            entry = start[2] if start[1] else entry
        elif found := re.match(r"\s+(ROOT )?%(\S+) = (.*?) ([\w\-]+)\((.*)", line):
            current.append(Instruction(bool(found[1]), *found.groups()[1:]))
    return computations, entry


def _cost(computations: Computations, name: str) -> Cost:
    kinds = {x.name: x.kind for x in computations[name]}
    total = Cost()
    for x in computations[name]:
        if x.operation == "while":
            (turns,) = re.findall(r'known_trip_count":\{"n":"(\d+)"', x.rest)
            total += _cost(computations, x.called("body")).repeated(int(turns))
        elif x.operation == "call":
            total += _cost(computations, x.called("to_apply"))
        elif x.operation in KERNEL:
            moved = _moved(computations, x, kinds)
            groups = re.search(r"feature_group_count=(\d+)", x.rest)
            grouped = bool(groups) and int(groups[1]) > 1
            total += Cost(kernels=1, moved=moved, grouped=grouped)
    return total


def _moved(computations: Computations, x: Instruction, kinds: dict[str, str]) -> int:
    """Bytes that a kernel reads and writes."""
    if x.operation == "fusion":
        return _moved_by_fusion(computations[x.called("calls")])
    if x.operation == "dynamic-slice":
        return 2 * size(x.kind)
    if x.operation == "dynamic-update-slice":  # in its place
        return 2 * size(kinds[x.operands[1]])
    return size(x.kind) + sum(size(kinds[name]) for name in x.operands)


def _moved_by_fusion(body: list[Instruction]) -> int:
    by_name = {x.name: x for x in body}

    def seen_through(name: str) -> str:
        while by_name[name].operation == "bitcast":
            (name,) = by_name[name].operands
        return name

    # How much of a parameter each of its users reads.
    reads: dict[str, list[int]] = {x.name: [] for x in body}
    for x in body:
        if x.operation == "bitcast":
            continue
        for place, operand in enumerate(x.operands):
            source = by_name[seen_through(operand)]
            whole = size(source.kind)
            if place == 0 and x.operation == "dynamic-slice":
                whole = size(x.kind)
            elif place == 0 and x.operation == "dynamic-update-slice":
                whole = 0  # in its place
            reads[source.name].append(whole)
    read_bytes = sum(
        min(sum(reads[x.name]), size(x.kind))
        for x in body
        if x.operation == "parameter"
    )
    (root,) = (x for x in body if x.root)
    results = root.operands if root.operation == "tuple" else [root.name]
    return read_bytes + sum(
        _written(by_name[seen_through(x)], by_name) for x in results
    )


def _written(x: Instruction, by_name: dict[str, Instruction]) -> int:
    if x.operation == "dynamic-update-slice":
        return size(by_name[x.operands[1]].kind)
    return size(x.kind)


def size(kind: str) -> int:
    """Bytes of an array, or of all arrays of a tuple."""
    arrays = re.findall(r"(\w+)\[([\d,]*)\]", kind)
    return sum(
        BYTES.get(dtype, 4) * math.prod(int(n) for n in shape.split(",") if n)
        for dtype, shape in arrays
    )
