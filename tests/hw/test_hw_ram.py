"""The off-chip RAM's law: transactions, rows, pages; and the arrival that nothing hides."""

import numpy as np
import pytest
from pulpsim.cost import platform, ram
from pulpsim.cost.machine import machine
from pulpsim.cost.planes import Flat, Operand, Planes
from pulpsim.cost.products import Product

VEGA = platform.load("vega")
RAM = VEGA.external


def test_a_block_is_data_and_a_transaction_a_page():
    seconds = ram.seconds(1, 10_000, RAM)
    assert seconds == pytest.approx(10_000 / 300e6 + 10 * 120e-9)
    assert ram.seconds(1, 1024, RAM) == pytest.approx(1024 / 300e6 + 120e-9)
    assert ram.seconds(1, 1025, RAM) > 1025 / 300e6 + 2 * 119e-9


def test_rows_apart_are_transactions_of_their_own():
    together, apart = ram.seconds(1, 64 * 64, RAM), ram.seconds(64, 64, RAM)
    assert apart - together == pytest.approx(60 * 120e-9)
    # 64 bytes in 213 ns, behind 120 ns of command and latency.
    assert apart / (64 * 64 / 300e6) == pytest.approx(1 + 120 / 213.3, rel=1e-3)


def test_no_rate_is_beyond_the_bus_and_arrays_are_taken():
    rows, sizes = np.meshgrid(np.arange(1.0, 50), np.arange(1.0, 3000, 7))
    seconds = ram.seconds(rows, sizes, RAM)
    assert np.all(rows * sizes / seconds < RAM.bytes_per_s)
    assert np.all(np.diff(seconds, axis=0) > 0)
    assert np.all(np.diff(seconds, axis=1) > 0)


def test_a_pass_waits_for_its_first_tile():
    chip = machine(VEGA)
    far = Flat((), 100_000, (("external", 1.0),), (("external", 1.0),))
    cost = far.cost(chip, np.array([1000.0, 10_000.0]))
    busy = 2 * ram.seconds(1, 100_000, RAM) * VEGA.cluster.clock_hz
    first = [ram.seconds(1, size, RAM) * VEGA.cluster.clock_hz for size in (1000.0, 10_000.0)]
    np.testing.assert_allclose(cost.cycles, busy + np.array(first), rtol=1e-12)
    np.testing.assert_allclose(cost.outside_cycles, busy, rtol=1e-12)


def test_tiles_of_a_matrix_come_row_by_row():
    """A tile of 16 of 256 columns is read in rows of 64 bytes unless the whole is staged."""
    work = Product("p1_2x4", 16, 256, 256, b_place="external")
    tile = tuple(np.array([size]) for size in (8.0, 256.0, 16.0, 0.0))
    staged = work.cost(machine(VEGA), *tile)
    again = work.cost(machine(VEGA, l2_bytes=0.0), *tile)
    clock, bytes_ = VEGA.cluster.clock_hz, 4.0 * 256 * 256
    assert staged.outside_cycles[0] == pytest.approx(ram.seconds(1, bytes_, RAM) * clock)
    # Two tiles of rows read all of B each.
    rows = 2 * 256 * 16
    assert again.outside_cycles[0] == pytest.approx(ram.seconds(rows, 64.0, RAM) * clock)


def test_planes_lie_apart():
    work = Planes(10, 8, (), (Operand(16, place="external"),), repeats=3)
    cost = work.cost(machine(VEGA), np.array([10.0]), np.array([8.0]))
    expected = ram.seconds(30, 8 * 16 * 4, RAM) * VEGA.cluster.clock_hz
    assert cost.outside_cycles[0] == pytest.approx(expected)
    assert cost.cycles[0] >= expected + ram.seconds(10, 512, RAM) * VEGA.cluster.clock_hz
