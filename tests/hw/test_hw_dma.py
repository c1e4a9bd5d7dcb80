"""The DMA's law against the cycles measured on its RTL."""

import dataclasses

import jax.numpy as jnp
import numpy as np
import pytest
from pulpsim.cost import dma, platform


@pytest.fixture(scope="module")
def engine():
    found = platform.load("vega").dma
    assert found is not None
    return found


# 64-bit bus, bursts of 256 B, L2 latency 10.
MEASURED_1D = {16: 27, 64: 33, 256: 57, 1024: 159, 4096: 567, 16384: 2199, 32768: 4375}
MEASURED_2D = {(32, 16): 150, (32, 64): 342}


@pytest.mark.parametrize(("size", "cycles"), MEASURED_1D.items())
def test_one_block(engine, size, cycles):
    assert dma.cycles_1d(size, engine) == cycles


@pytest.mark.parametrize(("shape", "cycles"), MEASURED_2D.items())
def test_rows(engine, shape, cycles):
    assert dma.cycles_2d(*shape, engine) == cycles


def test_rows_of_one_beat_cost_two_cycles_and_misalignment_half_a_cycle(engine):
    assert dma.cycles_2d(100, 8, engine) - dma.cycles_2d(50, 8, engine) == 100
    skewed = dma.cycles_2d(32, 64, engine, aligned=False)
    assert skewed - dma.cycles_2d(32, 64, engine) == 16


def test_towards_l2_a_gap_is_three_cycles(engine):
    assert dma.cycles_1d(1024, engine, write=True) - dma.cycles_1d(1024, engine) == 3
    rows = dma.cycles_2d(32, 64, engine, write=True) - dma.cycles_2d(32, 64, engine)
    assert rows == 32


def test_the_latency_of_l2_is_paid_once(engine):
    slow = dataclasses.replace(engine, l2_latency_cycles=25)
    assert dma.cycles_1d(4096, slow) - dma.cycles_1d(4096, engine) == 15


def test_never_faster_than_the_bus_and_monotone_in_bytes_and_width(engine):
    sizes = np.arange(1, 5000, dtype=np.float64)
    cycles = dma.cycles_1d(sizes, engine)
    assert np.all(cycles >= sizes / 8)
    assert np.all(np.diff(cycles) >= 0)
    for bus_bytes in (1, 2, 4, 16, 32):
        other = dma.cycles_1d(sizes, dataclasses.replace(engine, bus_bytes=bus_bytes))
        assert np.all(other >= cycles) if bus_bytes < 8 else np.all(other <= cycles)


def test_arrays_of_both_libraries_and_numbers_agree(engine):
    sizes = np.array([16.0, 100.0, 4096.0, 32768.0])
    ours = [dma.cycles_1d(int(size), engine) for size in sizes]
    np.testing.assert_array_equal(dma.cycles_1d(sizes, engine), ours)
    traced = dma.cycles_1d(jnp.asarray(sizes, jnp.float32), engine)
    np.testing.assert_array_equal(np.asarray(traced), np.asarray(ours, np.float32))


def test_programming_a_queue(engine):
    assert [dma.programming_cycles(n, engine) for n in (0, 1, 2, 3)] == [0, 18, 25, 32]
