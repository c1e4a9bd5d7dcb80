"""Tiles: the array costs against a walk over every step, the search against brute force."""

import dataclasses
import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pulpsim.cost import platform
from pulpsim.cost.linear import Linear
from pulpsim.cost.machine import machine
from pulpsim.cost.planes import Call, Flat, Operand, Planes
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


def block(size, write=False):
    """Beats of a contiguous transfer, and cycles of its direction without the queue's set-up."""
    beats, gap = -(-size // 8), 3 if write else 2
    return beats, beats + gap * -(-size // 256) + (15 - gap) - 13


def strided(rows, row, write=False):
    """Likewise of rows that lie apart."""
    beats, gap = -(-row // 8), 3 if write else 2
    each = beats + gap * -(-row // 256) - (beats == 1) + (0.5 if row % 8 else 0)
    return rows * beats, rows * each - 1


def queue(reads, writes, met=0.0):
    """Transfers queued together; latency 10 never makes the eight outstanding bursts wait."""
    if not reads and not writes:
        return 0.0
    into, out = (sum(cycles for _, cycles in some) for some in (reads, writes))
    flowing = max(into, out) + met + 0.03 * min(into, out)
    return 23 + 13 + 10 + max(flowing, 7 * (len(reads) + len(writes) - 1))


def step(compute, reads, writes):
    """Cores and DMA side by side: each beat costs the cores 0.05 cycles and the DMA 0.1."""
    beats = sum(count for count, _ in (*reads, *writes))
    cores = compute + 25
    beside = min(1.0, cores / max(queue(reads, writes), 1.0))
    return max(cores + 0.05 * beats, queue(reads, writes, 0.1 * beats * beside))


def walk(steps, edge, before=()):
    """Double buffering, step by step: the next fetch and the last write hide behind a tile.

    `steps` are (compute, reads, writes) in order; each step's transfers are charged to it. The
    first has nothing to write yet, the last nothing to fetch; both are like `edge`.
    """
    compute, reads, writes = edge
    whole = step(*edge)
    if len(steps) > 1:
        ends = step(compute, reads, []) + step(compute, [], writes) - 2 * whole
    else:
        ends = step(compute, [], []) - whole
    first, last = queue([*reads, *before], []), queue([], writes)
    return 60 + first + sum(step(*one) for one in steps) + ends + last


def walk_matmul(work, chip, tile_n, tile_k, tile_m, order):
    """Time and DMA bytes of a matrix product, tile by tile, with plain numbers and loops."""

    def moved_as(rows, row_bytes, contiguous, write=False):
        if contiguous:
            return block(rows * row_bytes, write)
        return strided(rows, row_bytes, write)

    def load_a(n, k):
        rows, row, whole = (n, k, k == work.k) if work.a_rows == "n" else (k, n, n == work.n)
        return moved_as(rows, row * work.a_bytes, whole)

    def load_b(k, m):
        rows, row, whole = (k, m, m == work.m) if work.b_rows == "k" else (m, k, k == work.k)
        return moved_as(rows, row * work.b_bytes, whole)

    def move_c(n, m, write):
        rows, row, whole = (n, m, m == work.m) if work.c_rows == "n" else (m, n, n == work.n)
        return moved_as(rows, row * work.c_bytes, whole, write)

    def compute(n, k, m):
        if work.kernel == "i1_4x2":
            return chip.kernel(work.kernel, m, (k, -(-n // 4) * 4))
        return chip.kernel(work.kernel, n, (k, -(-m // 4) * 4))

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
                reads, writes = [], []
                if both or order == 1:
                    reads.append(load_a(n, k))
                    moved += n * k * work.a_bytes
                if both or order == 0:
                    reads.append(load_b(k, m))
                    moved += k * m * work.b_bytes
                if last:
                    moved += n * m * work.c_bytes * (2 if work.accumulate else 1)
                    writes = [move_c(n, m, True)]
                    reads += [move_c(n, m, False)] if work.accumulate else []
                steps.append((compute(n, k, m), reads, writes))
    n, k, m = min(tile_n, work.n), min(tile_k, work.k), min(tile_m, work.m)
    kept = len(terms) == 1 and len(inner) > 1
    one, other = (load_b(k, m), load_a(n, k)) if order == 0 else (load_a(n, k), load_b(k, m))
    reads = [one] if kept else [one, other]
    reads += [move_c(n, m, False)] if work.accumulate else []
    edge = (compute(n, k, m), reads, [move_c(n, m, True)])
    return walk(steps, edge, [other] if kept else []), moved


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

    for index, (tile_c, tile_h) in enumerate(tiles.T.astype(int)):

        def round_of(c, h):
            """A tile; the kernel computes three rows at least."""
            source, target = (h + 2) * 13 * 4, h * 11 * 4
            whole = h >= 9
            reads = [block(c * source) if whole else strided(c, source), block(c * 36)]
            writes = [block(c * target, True) if whole else strided(c, target, True)]
            return CHIP.kernel("d1_col", c, (max(h, 3) + 2, 13)), reads, writes

        steps = [
            round_of(c, h) for _ in range(3) for c in parts(13, tile_c) for h in parts(9, tile_h)
        ]
        expected = walk(steps, round_of(tile_c, tile_h))
        assert cost.cycles[index] == pytest.approx(expected, rel=1e-12), (tile_c, tile_h)


def test_short_tiles_are_filled_up_to_what_hardware_loops_need():
    """`d1_col` and its kin write past the plane for fewer than 3 rows; nothing costs them so."""
    for kernel, halo, scale, least in (
        ("d1_col", 2, 1, 3),
        ("d3_col", 2, 1, 3),
        ("i2_dw", 2, 1, 3),
        ("d1s_col", 1, 2, 2),
        ("i2s_dw", 1, 2, 3),
    ):
        operands = (Operand(12, 4.0, scale, halo), Operand(11, 4.0, write=True))
        work = Planes(8, 9, (Call(kernel, "window", 13, scale, halo),), operands)
        rows = np.arange(1.0, 10.0)
        cost = work.cost(CHIP, np.full(9, 8.0), rows)
        computed = [
            sum(
                CHIP.kernel(kernel, 8, (scale * max(h, least) + halo, 13))
                for h in parts(9, int(tile))
            )
            for tile in rows
        ]
        np.testing.assert_allclose(cost.compute_cycles, computed)
        # Filled up in L1 as well, so that nothing is written past a buffer.
        held = np.maximum(rows, least)
        buffers = np.where(rows >= 9, 1, 2)
        assert list(cost.l1_bytes) == list(
            buffers * 8 * 4 * ((scale * held + halo) * 12 + held * 11)
        )


def test_operands_in_place_have_three_buffers():
    flat = Flat(("e1_sgd",), 1000, (("l2", 12.0),), (("l2", 8.0),), in_place=True)
    assert list(flat.cost(CHIP, np.array([100.0, 1000.0])).l1_bytes) == [3 * 1200, 12_000]
    product = Product("p2a_2x4", 16, 32, 16, accumulate=True)
    plain = Product("p2_2x4", 16, 32, 16)
    tile = tuple(np.array([size]) for size in (8.0, 32.0, 16.0, 0.0))
    more = product.cost(CHIP, *tile).l1_bytes - plain.cost(CHIP, *tile).l1_bytes
    assert more[0] == 8 * 16 * 4


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
