"""`area_streaming.sweep` in one GPU kernel: maps are read once, results written once.

A program takes a strip of columns and some rows of one example's map, for a block of
queries, one query per thread. It walks down the rows with the last rows of the strip in
registers: an area is complete with its last row, and a cell with the last area that
covers it. Areas at the border of two strips are computed by both, and counted by the
one that has their first cell.

By Triton, through Pallas; on CPU it is interpreted. On an H100 it takes half the time
of XLA's, which writes the window sums of every size to memory (docs/performance.md).
"""

import functools
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.experimental import pallas as pl
from jax.experimental.pallas import triton
from jaxtyping import Array

from ser_jax.layers import area_pooling
from ser_jax.layers.area_pooling import Areas, Block

QUERIES = 128  # of a program, one per thread
# Cells of a program: their sums must fit in a thread's 255 registers. Areas wider than
# three get half the columns, whose backward pass takes 20 instead of 60 s to compile.
ROWS, COLUMNS = 8, 4


def sweep(area: Callable, maps, per_query, block: Block, areas: Areas):
    """What `area_streaming.sweep` does, with the same arguments."""
    batch, _, queries = maps[0].shape
    grid = areas.grid
    columns = COLUMNS if areas.sizes[-1][1] <= 3 else COLUMNS // 2
    strips = -(-grid[0] // ROWS) * -(-grid[1] // columns)
    mask = jnp.ones(maps[0].shape[:2], bool) if block.mask is None else block.mask
    drawn = () if not areas.dropout_rate else (block.seeds, jnp.stack(block.first))
    kernel = functools.partial(
        _kernel,
        area=area,
        number_of_maps=len(maps),
        queries=queries,
        strip_columns=columns,
        batch_queries=block.shape[1],
        areas=areas,
    )
    # Over which mesh axes the results vary, under shard_map.
    varying = jax.typeof(maps[0]).manual_axis_type
    results, totals = pl.pallas_call(
        kernel,
        grid=(batch, -(-queries // QUERIES), strips),
        out_shape=[
            jax.ShapeDtypeStruct(shape, jnp.float32, manual_axis_type=varying)
            for shape in (maps[0].shape, (batch, strips, queries))
        ],
        compiler_params=triton.CompilerParams(num_warps=QUERIES // 32, num_stages=1),
        interpret=jax.default_backend() == "cpu",
        name="area_sweep",
    )(mask.astype(jnp.int32), *maps, *per_query, *drawn)
    return results, totals.sum(axis=1)


class _Window(NamedTuple):
    """One cell, or a rectangle of them, for all queries of a program."""

    count: Array  # of valid cells, int32
    sums: tuple[Array, ...]  # of their values, one [QUERIES] for each map

    def __add__(self, other):
        return jax.tree.map(jnp.add, self, other)


def _kernel(*refs, area, number_of_maps, queries, strip_columns, batch_queries, areas):
    """One program. `refs`: mask, maps, numbers per query, what dropout needs; results."""
    *refs, out_ref, total_ref = refs
    draw = None
    if areas.dropout_rate:
        *refs, seeds_ref, first_ref = refs
        draw = seeds_ref, first_ref, batch_queries
    mask_ref, *refs = refs
    program = _Program(areas, queries, strip_columns, draw)
    per_query = [program.load(ref) for ref in refs[number_of_maps:]]
    maps = refs[:number_of_maps]
    tallest = areas.sizes[-1][0]

    def step(number, state):
        """The areas whose last row is this one."""
        before, unfinished, total = state
        lines = [*before, program.read(mask_ref, maps, program.top + number)]
        results, tall = [], None
        for height in range(1, tallest + 1):
            line = lines[-height]
            tall = line if tall is None else _add_lines(tall, line)
            row = number - height + 1
            spread, terms = _visit(program, area, per_query, tall, height, row)
            results.append(spread)
            total = total + terms
        done, *unfinished = program.add_results(unfinished, results)
        program.store(out_ref, number - tallest + 1, done)
        return lines[1:], unfinished, total

    rows = range(1 - tallest, 0)
    state = (
        [program.read(mask_ref, maps, program.top + row) for row in rows],
        [program.zeros() for _ in rows],
        jnp.zeros(QUERIES, jnp.float32),
    )
    *_, total = jax.lax.fori_loop(0, ROWS + tallest - 1, step, state)
    target = total_ref.at[program.example, program.strip, program.block]
    triton.store(target, total, mask=program.exists)


def _visit(program, area, per_query, tall: list[_Window], height: int, row):
    """All areas of a height that begin in a row of the program's; what they give."""
    widest, strip = program.largest[1], program.strip_columns
    in_strip = (row >= 0) & (row < ROWS)
    spread, total = program.zeros(), jnp.zeros(QUERIES, jnp.float32)
    for start in range(widest - 1 + strip):
        window = None
        for width in range(1, min(widest, len(tall) - start) + 1):
            part = tall[start + width - 1]
            window = part if window is None else window + part
            if start + width < widest:
                continue  # ends before the strip
            keep = program.keep((height, width), row, start - widest + 1)
            logit, *others = window.sums
            cells = height * width
            logit = jnp.where(window.count == cells, logit, area_pooling.LOWEST)
            result, term = area(1 / cells, keep, (logit, *others), per_query)
            if start >= widest - 1:  # begins in the strip
                total = total + jnp.where(in_strip, term, 0)
            for column in range(start - widest + 1, start - widest + 1 + width):
                if 0 <= column < strip:
                    spread[column] = spread[column] + result
    return spread, total


def _add_lines(a: list, b: list) -> list:
    return [x + y for x, y in zip(a, b, strict=True)]


class _Program:
    """Which cells and queries a program has, and their memory."""

    def __init__(self, areas: Areas, queries: int, strip_columns: int, draw):
        self.areas, self.strip_columns, self.draw = areas, strip_columns, draw
        self.largest = areas.sizes[-1]
        self.example, self.strip = pl.program_id(0), pl.program_id(2)
        along = -(-areas.grid[1] // strip_columns)
        self.top = self.strip // along * ROWS
        self.left = self.strip % along * strip_columns
        self.first = pl.program_id(1) * QUERIES
        self.block = pl.ds(self.first, QUERIES)
        self.exists = self.first + jnp.arange(QUERIES) < queries

    def zeros(self) -> list[Array]:
        return [jnp.zeros(QUERIES, jnp.float32)] * self.strip_columns

    def load(self, ref) -> Array:
        return triton.load(ref.at[self.example, self.block], mask=self.exists, other=0)

    def locate(self, row, column):
        """Index of a cell, and whether it is in the map."""
        rows, columns = self.areas.grid
        inside = (row >= 0) & (row < rows) & (column >= 0) & (column < columns)
        return jnp.where(inside, row * columns + column, 0), inside

    def read(self, mask_ref, maps, row) -> list[_Window]:
        """A row of the strip, with the columns around it that areas share with it."""
        windows = []
        margin = self.largest[1] - 1
        for column in range(-margin, self.strip_columns + margin):
            cell, inside = self.locate(row, self.left + column)
            count = jnp.where(inside, mask_ref[self.example, cell], 0)
            valid = self.exists & (count > 0)
            sums = tuple(
                triton.load(ref.at[self.example, cell, self.block], mask=valid, other=0)
                for ref in maps
            )
            windows.append(_Window(count, sums))
        return windows

    def add_results(self, unfinished, results):
        """Adds what areas of all heights give to this row and to those above."""
        rows = [*unfinished, self.zeros()]
        for up in range(self.largest[0]):
            for line in results[up:]:  # of a height that reaches so far
                rows[-1 - up] = _add_lines(rows[-1 - up], line)
        return rows

    def store(self, ref, row, values) -> None:
        for column, value in enumerate(values):
            cell, inside = self.locate(self.top + row, self.left + column)
            valid = self.exists & inside & (row >= 0)
            triton.store(ref.at[self.example, cell, self.block], value, mask=valid)

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
