"""Tiles: the array costs against a walk over every step, the search against brute force."""

import dataclasses
import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pulpsim.cost import platform
from pulpsim.cost.machine import machine
from pulpsim.cost.planes import Call, Flat, Linear, Operand, Planes
from pulpsim.cost.products import Product
from pulpsim.cost.tiling import DoesNotFit, choose, sizes, split

SMALL_L1 = 16 * 1024
SMALL = platform.load("vega").replace(
    **{"cluster.l1_bytes": SMALL_L1, "cluster.l1_reserved_bytes": 1024}
)
CHIP = machine(SMALL)


def parts(total, tile):
    """Lengths of the tiles of one axis, in order."""
    return [min(tile, total - start) for start in range(0, total, tile)]


def walk(steps, first, last):
    """Double buffering, step by step: the next fetch and the last write hide behind a tile.

    `steps` are (compute, fetch, write) in order; each step's transfers are charged to it.
    """
    return first + sum(max(compute, fetch + write) for compute, fetch, write in steps) + last


def walk_matmul(work, chip, tile_n, tile_k, tile_m, order):
    """Time and DMA bytes of a matrix product, tile by tile, with plain numbers and loops."""
    engine = chip.dma

    def cycles(rows, row_bytes, contiguous, write=False):
        total, gap = rows * row_bytes, 3 if write else 2
        if contiguous:
            bursts = -(-total // 256)
            return -(-total // engine.bus_bytes) + gap * (bursts - 1) + 25
        beats, bursts = -(-row_bytes // 8), -(-row_bytes // 256)
        return rows * (beats + gap * bursts - (beats == 1)) + 22

    def load_a(n, k):
        rows, row, whole = (n, k, k == work.k) if work.a_rows == "n" else (k, n, n == work.n)
        return cycles(rows, row * work.a_bytes, whole)

    def load_b(k, m):
        rows, row, whole = (k, m, m == work.m) if work.b_rows == "k" else (m, k, k == work.k)
        return cycles(rows, row * work.b_bytes, whole)

    def move_c(n, m, write):
        rows, row, whole = (n, m, m == work.m) if work.c_rows == "n" else (m, n, n == work.n)
        return cycles(rows, row * work.c_bytes, whole, write)

    outer = parts(work.n, tile_n) if order == 0 else parts(work.m, tile_m)
    inner = parts(work.m, tile_m) if order == 0 else parts(work.n, tile_n)
    terms = parts(work.k, tile_k)
    steps, moved = [], 0.0
    for a in outer:
        for position, b in enumerate(inner):
            n, m = (a, b) if order == 0 else (b, a)
            for index, k in enumerate(terms):
                last = index == len(terms) - 1
                both = position == 0 or len(terms) > 1
                fetch = 0.0
                if both or order == 1:
                    fetch, moved = fetch + load_a(n, k), moved + n * k * work.a_bytes
                if both or order == 0:
                    fetch, moved = fetch + load_b(k, m), moved + k * m * work.b_bytes
                write = 0.0
                if last:
                    moved += n * m * work.c_bytes * (2 if work.accumulate else 1)
                    write = move_c(n, m, True)
                    write += move_c(n, m, False) if work.accumulate else 0.0
                fetch += 18 + 7 * (2 if both else 1)
                columns = -(-m // 4) * 4
                if work.kernel == "i1_4x2":
                    compute = chip.kernel(work.kernel, m, (k, -(-n // 4) * 4))
                else:
                    compute = chip.kernel(work.kernel, n, (k, columns))
                steps.append((compute, fetch, write))
    n, k, m = min(tile_n, work.n), min(tile_k, work.k), min(tile_m, work.m)
    return walk(steps, 25 + load_a(n, k) + load_b(k, m), move_c(n, m, True)), moved


MATMULS = (
    Product("p1_2x4", 24, 40, 16),
    Product("p3_2x4", 36, 20, 12, a_rows="k"),
    Product("p2a_2x4", 20, 32, 28, b_rows="m", accumulate=True),
    Product("i1_4x2", 40, 48, 30, 1.0, 1.0, 1.0, b_rows="m", c_rows="m"),
)


@pytest.mark.parametrize("work", MATMULS, ids=lambda work: work.kernel)
def test_array_costs_equal_a_walk_over_every_step(work):
    rng = np.random.default_rng(0)
    tiles = np.stack(work.candidates())[:, rng.permutation(work.candidates()[0].size)[:120]]
    cost = work.cost(CHIP, *tiles)
    for index, (n, k, m, order) in enumerate(tiles.T.astype(int)):
        cycles, moved = walk_matmul(work, CHIP, n, k, m, order)
        assert cost.cycles[index] == pytest.approx(cycles, rel=1e-12), (n, k, m, order)
        assert cost.dma_bytes[index] == moved
    assert np.all(cost.work == work.n * work.k * work.m)


@pytest.mark.parametrize("work", MATMULS, ids=lambda work: work.kernel)
def test_no_tile_of_any_size_beats_the_search(work):
    tiles = work.candidates()
    found = work.cost(CHIP, *tiles)
    best = found.cycles[choose(found, CHIP, "test")]
    step = 4 if work.kernel == "i1_4x2" else 1
    every = itertools.product(
        range(step, work.n + step, step),
        [work.k] if work.kernel == "i1_4x2" else range(1, work.k + 1),
        range(1, work.m + 1),
        (0, 1),
    )
    brute = np.array([tile for tile in every if tile[0] <= work.n], np.float64).T
    cost = work.cost(CHIP, *brute)
    fits = cost.l1_bytes <= CHIP.l1_bytes
    # Odd sizes waste part of a 2x4 block, so nothing between the candidates may win.
    assert best <= cost.cycles[fits].min() * (1 + 1e-12)


def depthwise(channels, height, width):
    operands = (
        Operand(width + 2, 4.0, 1, 2),
        Operand(per_channel_bytes=36.0),
        Operand(width, 4.0, write=True),
    )
    calls = (Call("d1_col", "window", width + 2, 1, 2),)
    return Planes(channels, height, calls, operands, 3, 27 * channels * height * width)


def test_planes_equal_a_walk_over_every_tile():
    work = depthwise(13, 9, 11)
    tiles = np.stack(work.candidates())
    cost = work.cost(CHIP, *tiles)

    def block(size, write=False):
        return -(-size // 8) + (3 if write else 2) * (-(-size // 256) - 1) + 25

    def strided(rows, row, write=False):
        beats = -(-row // 8)
        gap = (3 if write else 2) * -(-row // 256)
        return rows * (beats + gap - (beats == 1)) + 22

    for index, (tile_c, tile_h) in enumerate(tiles.T.astype(int)):

        def fetch(c, h):
            rows = (h + 2) * 13 * 4
            source = block(c * rows) if h >= 9 else strided(c, rows)
            return source + block(c * 36)

        def write(c, h):
            rows = h * 11 * 4
            return block(c * rows, True) if h >= 9 else strided(c, rows, True)

        steps = [
            (CHIP.kernel("d1_col", c, (h + 2, 13)), fetch(c, h) + 32, write(c, h))
            for _ in range(3)
            for c in parts(13, tile_c)
            for h in parts(9, tile_h)
        ]
        expected = walk(steps, 25 + fetch(tile_c, tile_h), write(tile_c, tile_h))
        assert cost.cycles[index] == pytest.approx(expected, rel=1e-12), (tile_c, tile_h)


def test_no_planes_tile_beats_the_search():
    work = depthwise(21, 10, 8)
    found = work.cost(CHIP, *work.candidates())
    best = found.cycles[choose(found, CHIP, "test")]
    every = np.array(list(itertools.product(range(1, 22), range(1, 11))), np.float64).T
    cost = work.cost(CHIP, *every)
    assert best == cost.cycles[cost.l1_bytes <= CHIP.l1_bytes].min()


@pytest.mark.parametrize("kernel", ["l1_fwd", "l2_igrad", "l3a_wgrad"])
def test_no_linear_tile_beats_the_search(kernel):
    work = Linear(kernel, 24, 64, 3)
    found = work.cost(CHIP, *work.candidates())
    best = found.cycles[choose(found, CHIP, "test")]
    step = 4 if kernel == "l2_igrad" else 1
    tiled = 64 if kernel == "l2_igrad" else 24
    every = np.arange(step, tiled + 1, step, dtype=np.float64)
    cost = work.cost(CHIP, every)
    assert best == cost.cycles[cost.l1_bytes <= CHIP.l1_bytes].min()


def test_flat_passes_move_every_byte_once():
    work = Flat(("e1_sgd",), 10_000, (("l2", 12.0),), (("l2", 8.0),))
    found = work.cost(CHIP, *work.candidates())
    assert np.all(found.dma_bytes == 200_000)
    every = np.arange(8.0, 700.0, 8.0)
    cost = work.cost(CHIP, every)
    best = found.cycles[choose(found, CHIP, "test")]
    assert best <= cost.cycles[cost.l1_bytes <= CHIP.l1_bytes].min() * 1.02


def test_outside_operands_are_staged_or_fetched_again():
    work = Product("p1_2x4", 64, 256, 64, a_place="external", b_place="external")
    tile = tuple(np.array([value]) for value in (16.0, 256.0, 4.0, 0.0))
    roomy = work.cost(machine(SMALL, l2_bytes=10.0**6), *tile)
    tight = work.cost(machine(SMALL, l2_bytes=0.0), *tile)
    once = 4.0 * (64 * 256 + 256 * 64)
    assert roomy.external_bytes[0] == once
    # Four tiles of rows read all columns four times.
    assert tight.external_bytes[0] == once + 3 * 4.0 * 256 * 64
    assert tight.cycles[0] >= tight.external_bytes[0] / (300e6 / 375e6)
    assert work.staged_bytes(10.0**6) == 4.0 * 256 * 64
    assert work.staged_bytes(100.0) == 0.0


def test_a_layer_that_fits_nowhere_is_named():
    tiny = machine(platform.load("vega").replace(**{"cluster.l1_bytes": 15_000}))
    work = Planes(4, 2, (Call("e4_bn", "pixels", 4000),), (Operand(4000),), split_rows=False)
    with pytest.raises(DoesNotFit, match=r"fits into 4760 bytes of L1.*cluster\.l1_bytes"):
        choose(work.cost(tiny, *work.candidates()), tiny, "the test pass")


@given(total=st.integers(1, 2000), unit=st.sampled_from([1, 2, 4]), ratio=st.floats(1, 1.5))
def test_candidate_sizes_are_multiples_that_include_the_whole(total, unit, ratio):
    found = sizes(total, unit, ratio)
    assert found[-1] == total
    assert np.all(np.diff(found) > 0)
    assert np.all((found % unit == 0) | (found == total))


@given(total=st.integers(1, 500), tile=st.integers(1, 500))
def test_a_split_covers_everything_once(total, tile):
    tile = min(tile, total)
    pieces = split(float(total), float(tile), np)
    assert sum(size * count for size, count in pieces) == total


def test_slack_prefers_the_tile_that_moves_less():
    work = Product("p1_2x4", 512, 512, 64, a_place="external", b_place="external")
    chip = machine(platform.load("vega"), l2_bytes=0.0)
    cost = work.cost(chip, *work.candidates(1.2))
    fast, lean = cost.at(choose(cost, chip, "x")), cost.at(choose(cost, chip, "x", 0.05))
    assert fast.cycles <= lean.cycles <= 1.05 * fast.cycles
    assert lean.external_bytes <= fast.external_bytes
    assert dataclasses.replace(fast) == fast
