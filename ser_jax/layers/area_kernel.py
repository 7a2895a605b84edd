"""`area_streaming.sweep` in one GPU kernel: maps are read once, results written once.

A program takes a strip of columns and some rows of one example's map, for a block of
queries, one query per thread. It walks down the rows with the last rows of the strip in
registers: an area is complete with its last row, and a cell with the last area that
covers it. Areas at the border of two strips are computed by both, and counted by the
one that has their first cell.

By Triton, through Pallas; on CPU it is interpreted. On an H100 it takes half the time
of XLA's, which writes the window sums of every size to memory (docs/gpu.md).
"""

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax.experimental import pallas as pl
from jax.experimental.pallas import triton
from jaxtyping import Array

from ser_jax.layers import area_pooling
from ser_jax.layers.area_pooling import Areas, Block

QUERIES = 128  # of a program, one per thread
# Cells of a program: the sums of its last rows must fit in a thread's 255 registers.
ROWS, COLUMNS = 8, 4
# The cells of a row, each with the sums of all maps, one [QUERIES] per map.
Line = list[tuple[Array, ...]]


def sweep(area: Callable, maps, per_query, block: Block, areas: Areas, dtype):
    """What `area_streaming.sweep` does, with the same arguments."""
    batch, _, queries = maps[0].shape
    grid = areas.grid
    strips = -(-grid[0] // ROWS) * -(-grid[1] // COLUMNS)
    mask = jnp.ones(maps[0].shape[:2], bool) if block.mask is None else block.mask
    drawn = () if not areas.dropout_rate else (block.seeds, jnp.stack(block.first))
    kernel = functools.partial(
        _kernel,
        area=area,
        number_of_maps=len(maps),
        queries=queries,
        batch_queries=block.shape[1],
        areas=areas,
    )
    # Over which mesh axes the results vary, under shard_map.
    varying = jax.typeof(maps[0]).manual_axis_type
    results, totals = pl.pallas_call(
        kernel,
        grid=(batch, -(-queries // QUERIES), strips),
        out_shape=[
            jax.ShapeDtypeStruct(maps[0].shape, dtype, manual_axis_type=varying),
            jax.ShapeDtypeStruct(
                (batch, strips, queries), jnp.float32, manual_axis_type=varying
            ),
        ],
        compiler_params=triton.CompilerParams(num_warps=QUERIES // 32, num_stages=1),
        interpret=jax.default_backend() == "cpu",
        name="area_sweep",
    )(mask.astype(jnp.int32), *maps, *per_query, *drawn)
    return results, totals.sum(axis=1)


def _kernel(*refs, area, number_of_maps, queries, batch_queries, areas):
    """One program. `refs`: mask, maps, numbers per query, what dropout needs; results."""
    *refs, out_ref, total_ref = refs
    draw = None
    if areas.dropout_rate:
        *refs, seeds_ref, first_ref = refs
        draw = seeds_ref, first_ref, batch_queries
    mask_ref, *refs = refs
    program = _Program(areas, queries, draw)
    per_query = [program.load(ref) for ref in refs[number_of_maps:]]
    maps = refs[:number_of_maps]
    finish = functools.partial(_finish, program, area, per_query, out_ref)

    def step(number, state):
        before, *rest = state
        # The only place that loads maps: Triton follows each load through all of the
        # program, nine tenths of the time to compile 5x5 when rows had a place each.
        lines = [*before, program.read(mask_ref, maps, program.top + number)]
        above = number < 0  # only read
        rest = jax.lax.cond(above, lambda *_: (*rest,), finish, number, lines, *rest)
        return lines[1:], *rest

    tallest = areas.sizes[-1][0]
    state = (
        [program.zero_line(len(maps))] * (tallest - 1),
        [program.zeros()] * (tallest - 1),
        jnp.zeros(QUERIES, jnp.float32),
    )
    *_, total = jax.lax.fori_loop(1 - tallest, ROWS + tallest - 1, step, state)
    target = total_ref.at[program.example, program.strip, program.block]
    triton.store(target, total, mask=program.exists)


def _finish(program, area, per_query, out_ref, number, lines, unfinished, total):
    """The areas whose last row is this one, and the row of cells that they complete."""
    tallest = program.largest[0]
    results, tall = [], None
    for height in range(1, tallest + 1):
        line = lines[-height]
        tall = line if tall is None else _add(tall, line)
        row = number - height + 1
        spread, terms = _visit(program, area, per_query, tall, height, row)
        results.append(spread)
        total = total + terms
    done, *unfinished = program.add_results(unfinished, results)
    program.store(out_ref, number - tallest + 1, done)
    return unfinished, total


def _visit(program, area, per_query, tall: Line, height: int, row):
    """All areas of a height that begin in a row of the program's; what they give."""
    widest = program.largest[1]
    spread, total = program.zeros(), jnp.zeros(QUERIES, jnp.float32)
    for start in range(widest - 1 + COLUMNS):
        window = None
        for width in range(1, min(widest, len(tall) - start) + 1):
            part = tall[start + width - 1]
            window = part if window is None else _add(window, part)
            if start + width < widest:
                continue  # ends before the strip
            keep = program.keep((height, width), row, start - widest + 1)
            result, term = area(1 / (height * width), keep, window, per_query)
            if start >= widest - 1:  # begins in the strip
                total = total + term
            for column in range(start - widest + 1, start - widest + 1 + width):
                if 0 <= column < COLUMNS:
                    spread[column] = spread[column] + result
    return spread, jnp.where((row >= 0) & (row < ROWS), total, 0)


def _add(a, b):
    return jax.tree.map(jnp.add, a, b)


class _Program:
    """Which cells and queries a program has, and their memory."""

    def __init__(self, areas: Areas, queries: int, draw):
        self.areas, self.draw = areas, draw
        self.largest = areas.sizes[-1]
        self.example, self.strip = pl.program_id(0), pl.program_id(2)
        along = -(-areas.grid[1] // COLUMNS)
        self.top = self.strip // along * ROWS
        self.left = self.strip % along * COLUMNS
        self.first = pl.program_id(1) * QUERIES
        self.block = pl.ds(self.first, QUERIES)
        self.exists = self.first + jnp.arange(QUERIES) < queries

    def zeros(self) -> list[Array]:
        return [jnp.zeros(QUERIES, jnp.float32)] * COLUMNS

    def load(self, ref) -> Array:
        return triton.load(ref.at[self.example, self.block], mask=self.exists, other=0)

    def locate(self, row, column):
        """Index of a cell, and whether it is in the map."""
        rows, columns = self.areas.grid
        inside = (row >= 0) & (row < rows) & (column >= 0) & (column < columns)
        return jnp.where(inside, row * columns + column, 0), inside

    def read(self, mask_ref, maps, row) -> Line:
        """A row of the strip, with the columns around it that areas share with it."""
        cells = []
        margin = self.largest[1] - 1
        # A cell of -inf makes the first sum of all its areas -inf.
        missing = -jnp.inf, *(0.0 for _ in maps[1:])
        for column in range(-margin, COLUMNS + margin):
            cell, inside = self.locate(row, self.left + column)
            valid = jnp.where(inside, mask_ref[self.example, cell], 0) > 0
            places = [ref.at[self.example, cell, self.block] for ref in maps]
            cells.append(
                tuple(
                    triton.load(place, mask=self.exists & valid, other=other)
                    for place, other in zip(places, missing, strict=True)
                )
            )
        return cells

    def zero_line(self, number_of_maps: int) -> Line:
        cell = (jnp.zeros(QUERIES, jnp.float32),) * number_of_maps
        return [cell] * (COLUMNS + 2 * self.largest[1] - 2)

    def add_results(self, unfinished, results):
        """Adds what areas of all heights give to this row and to those above."""
        rows = [*unfinished, self.zeros()]
        for up in range(self.largest[0]):
            for line in results[up:]:  # of a height that reaches so far
                rows[-1 - up] = _add(rows[-1 - up], line)
        return rows

    def store(self, ref, row, values) -> None:
        for column, value in enumerate(values):
            cell, inside = self.locate(self.top + row, self.left + column)
            valid = self.exists & inside & (row >= 0)
            target = ref.at[self.example, cell, self.block]
            triton.store(target, value.astype(ref.dtype), mask=valid)

    def keep(self, size: tuple[int, int], row, column):
        """Which queries keep an area: `area_pooling.area_ids` of its first cell."""
        if self.draw is None:
            return None
        seeds, first, batch_queries = self.draw
        rows, columns = self.areas.grid
        example = self.example + first[0]
        cell = (example * rows + self.top + row) * columns + self.left + column
        query = first[1] + self.first + jnp.arange(QUERIES)
        ids = cell.astype(jnp.uint32) * jnp.uint32(batch_queries)
        ids = ids + query.astype(jnp.uint32)
        seed = seeds[self.areas.index(size)]
        return area_pooling.keep_mask(seed, ids, self.areas.dropout_rate)
