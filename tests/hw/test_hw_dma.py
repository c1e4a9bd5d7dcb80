"""The DMA's law against the cycles measured on its RTL, and what must hold of any engine."""

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


# 64-bit bus, bursts of 256 B, L2 latency 10; from the last command write to the event.
MEASURED_1D = {16: 27, 64: 33, 256: 57, 1024: 159, 4096: 567, 16384: 2199, 32768: 4375}
MEASURED_2D = {(32, 16): 150, (32, 64): 342}
# 32 rows of 16 B by latency: eight bursts are outstanding.
MEASURED_LATENCY = {10: 150, 30: 176, 50: 256, 100: 456, 200: 856}


def alone(flow, engine):
    """A single transfer without the commands around it."""
    return dma.queue_cycles(flow, engine, np) - engine.program_cycles


@pytest.mark.parametrize(("size", "cycles"), MEASURED_1D.items())
def test_one_block(engine, size, cycles):
    assert alone(dma.block(float(size), engine, np), engine) == cycles


@pytest.mark.parametrize(("shape", "cycles"), MEASURED_2D.items())
def test_rows(engine, shape, cycles):
    rows, row_bytes = map(float, shape)
    assert alone(dma.strided(rows, row_bytes, engine, np), engine) == cycles


@pytest.mark.parametrize(("latency", "cycles"), MEASURED_LATENCY.items())
def test_short_rows_wait_for_the_latency(engine, latency, cycles):
    slow = dataclasses.replace(engine, l2_latency_cycles=latency)
    # The measured commands before and behind cost up to 2 cycles more or less.
    assert alone(dma.strided(32.0, 16.0, slow, np), slow) == pytest.approx(cycles, abs=2)


def test_rows_of_one_beat_cost_two_cycles_and_misalignment_half_a_cycle(engine):
    def rows(count, size):
        return alone(dma.strided(float(count), float(size), engine, np), engine)

    assert rows(100, 8) - rows(50, 8) == 100
    assert rows(32, 60) - rows(32, 64) == 16


def test_towards_l2_a_gap_is_three_cycles(engine):
    def more(transfer):
        written, read = (alone(transfer(write), engine) for write in (True, False))
        return written - read

    assert more(lambda write: dma.block(1024.0, engine, np, write=write)) == 3
    assert more(lambda write: dma.strided(32.0, 64.0, engine, np, write=write)) == 32


def test_a_queue_pays_set_up_once_and_its_directions_pass_each_other(engine):
    read, write = dma.block(4096.0, engine, np), dma.block(4096.0, engine, np, write=True)
    one, two = alone(read, engine), alone(read + read, engine)
    assert two - one == 544  # beats and gaps, nothing else
    both = alone(read + write, engine)
    assert alone(write, engine) <= both <= 1.04 * alone(write, engine)
    half = dataclasses.replace(engine, l2_duplex="half")
    turns = alone(read + write, half)
    assert 1024 < turns < 1024 + 94
    assert alone(read, half) == one
    # Beats that meet other masters are delayed, unless they wait for L2 anyway.
    assert dma.queue_cycles(read, engine, np, 50.0) == dma.queue_cycles(read, engine, np) + 50
    assert dma.queue_cycles(read + write, half, np, 50.0) == dma.queue_cycles(
        read + write, half, np
    )
    assert dma.queue_cycles(dma.NOTHING, engine, np) == 0


def test_never_faster_than_the_bus_and_monotone_in_bytes_and_width(engine):
    sizes = np.arange(1, 5000, dtype=np.float64)
    cycles = alone(dma.block(sizes, engine, np), engine)
    assert np.all(cycles >= sizes / 8)
    assert np.all(np.diff(cycles) >= 0)
    for bus_bytes in (1, 2, 4, 16, 32):
        changed = dataclasses.replace(engine, bus_bytes=bus_bytes)
        other = alone(dma.block(sizes, changed, np), changed)
        assert np.all(other >= cycles) if bus_bytes < 8 else np.all(other <= cycles)


def test_arrays_of_both_libraries_and_numbers_agree(engine):
    sizes = np.array([16.0, 100.0, 4096.0, 32768.0])
    ours = [dma.queue_cycles(dma.block(float(size), engine, np), engine, np) for size in sizes]
    flow = dma.block(sizes, engine, np)
    np.testing.assert_array_equal(dma.queue_cycles(flow, engine, np), ours)
    flow = dma.block(jnp.asarray(sizes, jnp.float32), engine, jnp)
    traced = dma.queue_cycles(flow, engine, jnp)
    np.testing.assert_array_equal(np.asarray(traced), np.asarray(ours, np.float32))
