"""`area_sweep.sweep` in one GPU kernel: maps are read once, results written once.

XLA writes the window sums of every size to memory and reads them back. Here a program
takes a strip of columns and some rows of one example's map, for a block of queries,
one query per thread. It walks down the rows with the last rows of the strip in
registers: an area is complete with its last row, and a cell with the last area that
covers it. Areas at the border of two strips are computed by both, and counted by the
one that has their first cell.

By Triton, through jax.experimental.pallas; on CPU it is interpreted. For the H100, with
dropout, the compiler needs 95 registers (forward) and 167 (backward) per thread at 3x3,
168 and 255 at 5x5, without spilling any. It has not run on a GPU yet.
"""

import functools
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.experimental import pallas as pl
from jax.experimental.pallas import triton
from jaxtyping import Array, Bool, Float

from ser_jax.layers import area_pooling as pooling
from ser_jax.layers.area_sweep import LOWEST, Dropout

QUERIES = 128  # of a program, one per thread
# Cells of a program; half the columns for areas of more than three, whose backward pass
# takes 20 instead of 60 s to compile.
ROWS, COLUMNS = 8, 4


def sweep(
    area: Callable,
    maps: tuple[Float[Array, "b M n"], ...],
    numbers: tuple[Float[Array, "b n"], ...],
    mask: Bool[Array, "b M"] | None,
    dropout: Dropout | None,
    *,
    grid: tuple[int, int],
    max_area: tuple[int, int],
) -> tuple[Float[Array, "b M n"], Float[Array, "b n"]]:
    """What `area_sweep.sweep` does, with the same arguments."""
    batch, cells, count = maps[0].shape
    largest = pooling.area_sizes(max_area, grid)[-1]
    columns = COLUMNS if largest[1] <= 3 else COLUMNS // 2
    strips = -(-grid[0] // ROWS) * -(-grid[1] // columns)
    mask = jnp.ones((batch, cells), bool) if mask is None else mask
    kernel = functools.partial(
        _kernel,
        area=area,
        number_of_maps=len(maps),
        grid=grid,
        queries=count,
        largest=largest,
        strip_columns=columns,
        dropout=dropout,
    )
    drawn = () if dropout is None else (dropout.seeds, jnp.stack(dropout.at))
    # Over which mesh axes the results vary, under shard_map.
    varying = jax.typeof(maps[0]).manual_axis_type
    results, totals = pl.pallas_call(
        kernel,
        grid=(batch, -(-count // QUERIES), strips),
        out_shape=[
            jax.ShapeDtypeStruct(shape, jnp.float32, manual_axis_type=varying)
            for shape in (maps[0].shape, (batch, strips, count))
        ],
        compiler_params=triton.CompilerParams(num_warps=QUERIES // 32, num_stages=1),
        interpret=jax.default_backend() == "cpu",
        name="area_sweep",
    )(mask.astype(jnp.int32), *maps, *numbers, *drawn)
    return results, totals.sum(axis=1)


class _Window(NamedTuple):
    """One cell, or a rectangle of them, for all queries of a program.

    Attributes:
        count: valid cells, int32.
        sums: of their values, one [QUERIES] for each map.
    """

    count: Array
    sums: tuple[Array, ...]

    def __add__(self, other: "_Window") -> "_Window":
        return jax.tree.map(jnp.add, self, other)


def _kernel(
    *refs, area, number_of_maps, grid, queries, largest, strip_columns, dropout
):
    """One program. `refs`: mask, maps, numbers, seeds and `at` if dropped; results."""
    *refs, out_ref, total_ref = refs
    drawn = None
    if dropout is not None:
        *refs, seeds_ref, at_ref = refs
        drawn = dropout._replace(seeds=seeds_ref, at=at_ref)
    mask_ref, *refs = refs
    program = _Program(grid, queries, largest, strip_columns)
    numbers = [program.load(ref) for ref in refs[number_of_maps:]]
    maps = refs[:number_of_maps]

    def step(number, state):
        """The areas whose last row is this one."""
        before, unfinished, total = state
        lines = [*before, program.read(mask_ref, maps, program.top + number)]
        given, tall = [], None
        for height in range(1, largest[0] + 1):
            line = lines[-height]
            tall = line if tall is None else _added(tall, line)
            visit = functools.partial(_visit, program, area, numbers, drawn)
            cells, terms = visit(tall, height, number - height + 1)
            given.append(cells)
            total = total + terms
        done, *unfinished = program.reached(unfinished, given)
        program.store(out_ref, number - largest[0] + 1, done)
        return lines[1:], unfinished, total

    rows = range(1 - largest[0], 0)
    state = (
        [program.read(mask_ref, maps, program.top + row) for row in rows],
        [program.zeros() for _ in rows],
        jnp.zeros(QUERIES, jnp.float32),
    )
    *_, total = jax.lax.fori_loop(0, ROWS + largest[0] - 1, step, state)
    at = total_ref.at[program.example, program.strip, program.block]
    triton.store(at, total, mask=program.there)


def _visit(program, area, numbers, drawn, tall: list[_Window], height: int, row):
    """All areas of a height that begin in a row of the program's; what they give."""
    widest, strip = program.largest[1], program.strip_columns
    mine = (row >= 0) & (row < ROWS)
    cells, total = program.zeros(), jnp.zeros(QUERIES, jnp.float32)
    for start in range(widest - 1 + strip):
        window = None
        for width in range(1, min(widest, len(tall) - start) + 1):
            part = tall[start + width - 1]
            window = part if window is None else window + part
            if start + width < widest:
                continue  # ends before the strip
            kept = program.kept(drawn, (height, width), row, start - widest + 1)
            logit, *others = window.sums
            logit = jnp.where(window.count == height * width, logit, LOWEST)
            share = 1 / (height * width)
            result, term = area(share, kept, (logit, *others), numbers)
            if start >= widest - 1:  # begins in the strip
                total = total + jnp.where(mine, term, 0)
            for column in range(start - widest + 1, start - widest + 1 + width):
                if 0 <= column < strip:
                    cells[column] = cells[column] + result
    return cells, total


def _added(a: list, b: list) -> list:
    """Two lines of windows or of results, column by column."""
    return [x + y for x, y in zip(a, b, strict=True)]


class _Program:
    """Which cells and queries a program has, and their memory."""

    def __init__(
        self, grid, queries: int, largest: tuple[int, int], strip_columns: int
    ):
        self.grid, self.queries = grid, queries
        self.largest, self.strip_columns = largest, strip_columns
        self.example, self.strip = pl.program_id(0), pl.program_id(2)
        along = -(-grid[1] // strip_columns)
        self.top = self.strip // along * ROWS
        self.left = self.strip % along * strip_columns
        self.first = pl.program_id(1) * QUERIES
        self.block = pl.ds(self.first, QUERIES)
        self.there = self.first + jnp.arange(QUERIES) < queries

    def zeros(self) -> list[Array]:
        """One number per query for every column of the strip."""
        return [jnp.zeros(QUERIES, jnp.float32)] * self.strip_columns

    def load(self, ref) -> Array:
        """Numbers of the queries."""
        return triton.load(ref.at[self.example, self.block], mask=self.there, other=0)

    def cell(self, row, column):
        """Index of a cell, and whether it is in the map."""
        rows, columns = self.grid
        inside = (row >= 0) & (row < rows) & (column >= 0) & (column < columns)
        return jnp.where(inside, row * columns + column, 0), inside

    def read(self, mask_ref, maps, row) -> list[_Window]:
        """A row of the strip, with the columns around it that areas share with it."""
        found = []
        margin = self.largest[1] - 1
        for column in range(-margin, self.strip_columns + margin):
            cell, inside = self.cell(row, self.left + column)
            count = jnp.where(inside, mask_ref[self.example, cell], 0)
            there = self.there & (count > 0)
            sums = tuple(
                triton.load(ref.at[self.example, cell, self.block], mask=there, other=0)
                for ref in maps
            )
            found.append(_Window(count, sums))
        return found

    def reached(self, unfinished, given):
        """Adds what areas of all heights give to this row and to those above."""
        rows = [*unfinished, self.zeros()]
        for up in range(self.largest[0]):
            for cells in given[up:]:  # of a height that reaches so far
                rows[-1 - up] = _added(rows[-1 - up], cells)
        return rows

    def store(self, ref, row, values) -> None:
        """Writes a row of the strip."""
        for column, value in enumerate(values):
            cell, inside = self.cell(self.top + row, self.left + column)
            there = self.there & inside & (row >= 0)
            triton.store(ref.at[self.example, cell, self.block], value, mask=there)

    def kept(self, drawn, size: tuple[int, int], row, column):
        """Which queries keep an area: `area_pooling.area_ids` of its first cell."""
        if drawn is None:
            return None
        rows, columns = self.grid
        example = self.example + drawn.at[0]
        cell = (example * rows + self.top + row) * columns + self.left + column
        query = drawn.at[1] + self.first + jnp.arange(QUERIES)
        ids = cell.astype(jnp.uint32) * jnp.uint32(drawn.whole[1])
        ids = ids + query.astype(jnp.uint32)
        seed = drawn.seeds[(size[0] - 1) * self.largest[1] + size[1] - 1]
        return pooling.kept(seed, ids, drawn.rate)
