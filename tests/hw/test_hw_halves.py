"""Maps in float16: the programs that turn them, bit for bit against NumPy, and what they cost."""

import numpy as np
import pytest
from pulpsim.cluster import l1
from pulpsim.cluster.assembler import program
from pulpsim.cluster.interpreter import interpret
from pulpsim.cluster.requests import requests
from pulpsim.cost import platform
from pulpsim.event import event
from pulpsim.event.setting import EventSetting
from pulpsim.kernels import find
from pulpsim.kernels.record import largest_share

from qlrjax.network import mobilenet_v1

CORES = 3


def carried_out(name, source, values, target, like):
    """What the program makes of some values, on three cores."""
    kernel = find(name)
    tile = kernel.tile(f"n{len(values)}")
    placement = l1.place(tile, CORES)
    memory = l1.memory(tile, placement, CORES)
    memory.write(placement.buffers[source], values)
    for core in range(CORES):
        block, stack = placement.arguments[core], placement.stacks[core]
        interpret(program(kernel), memory, block, stack, values=True)
    return memory.read(placement.buffers[target], np.zeros(len(values), like))


def test_halves_become_floats():
    halves = np.arange(0, 65536, 61).astype(np.uint16)
    halves = halves[(halves & 0x7C00) != 0x7C00]  # infinite ones and those that are no number
    halves = np.append(halves, [1, 0x8001, 0x3FF, 0x400, 0x7BFF, 0x8000]).astype(np.uint16)
    halves = halves[: len(halves) // 4 * 4]
    found = carried_out("h1_up", "halves", halves, "y", np.float32)
    expected = halves.view(np.float16).astype(np.float32)
    np.testing.assert_array_equal(found.view(np.uint32), expected.view(np.uint32))


def test_floats_become_the_nearest_halves_ties_to_even():
    rng = np.random.default_rng(0)
    x = rng.standard_normal(992) * 10.0 ** rng.integers(-8, 5, 992)
    ties = (1 + (np.arange(16) * 2 + 1) * 2.0**-11) * 4
    extremes = [0, -0.0, 65504, 65519, 65520, -1e9, 2.0**-24, 2.0**-25, 6e-8, -3e-5]
    values = np.concatenate([x, ties, extremes, [1.0, 2.0]]).astype(np.float32)
    values = values[: len(values) // 4 * 4]
    found = carried_out("h1_down", "x", values, "halves", np.uint16)
    with np.errstate(over="ignore"):
        np.testing.assert_array_equal(found, values.astype(np.float16).view(np.uint16))


@pytest.mark.parametrize("name", ["h1_up", "h1_down"])
def test_closed_forms_are_those_of_the_programs(name):
    alone, kernel = requests(name, "n100", 0, 8).alone, find(name)
    closed = kernel.closed_form.spent(largest_share(100, 8, 4))
    assert (closed.instr, closed.taken) == (alone.instr, alone.taken_branches)
    assert kernel.tile_spent(100, (), 8).cycles == alone.cycles
    assert not kernel.measured


def test_half_as_many_bytes_of_maps():
    small, vega = mobilenet_v1(0.25, 64), platform.load("vega")
    full, half = (
        event.event_cost(EventSetting(small, 24, 100, maps=maps), vega, ratio=2.0)
        for maps in ("float32", "float16")
    )
    maps = [one.memory.used_bytes("external") for one in (full, half)]
    assert maps[1] < maps[0]
    assert half.cost.external_bytes < 0.75 * full.cost.external_bytes
    assert half.cost.compute_cycles > full.cost.compute_cycles
    assert half.joules < full.joules
