"""A Cortex-M7 against examples counted by hand: what pairs, what waits, and lines of its cache."""

import dataclasses

import numpy as np
import pytest
from pulpsim.cost import contention, cortex, cortex_m7, platform
from pulpsim.cost.machine import machine
from pulpsim.cost.platform import PlatformError
from pulpsim.cost.products import Product
from pulpsim.kernels import KERNELS, find
from pulpsim.kernels.record import Mix

H7, L4 = platform.load("stm32h7"), platform.load("stm32l4-competent")


def timing():
    assert H7.cortex_m7 is not None
    return H7.cortex_m7


def cache():
    assert H7.caches is not None
    return H7.caches


@pytest.mark.parametrize(
    ("mix", "cycles"),
    [
        # VLDM of 3 words takes 2 cycles and of 4 takes 2; three cycles until they start; 8 VFMA,
        # behind which an addition, a subtraction and a branch hide.
        (Mix(8, 14, loads=(3, 4), fma=8, alu=1), 2 + 2 + 3 + 8),
        # No multiply-add, no turn: 2 loads, 12 VADD; loop and nothing else pairs with them.
        (Mix(4, 16, loads=(4,), fp=12), 2 + 12),
        # 16 integer instructions and half a loop's two are 17, 8.5 cycles in pairs.
        (Mix(16, 7, loads=(4,), alu=16, loops=0.5), 2 + 8.5),
        # Stores pair with nothing either: 2 + 1 cycles; 4 of ALU and 2 of loop in 3.
        (Mix(4, 16, loads=(4, 4), stores=(4, 1), alu=4), 2 + 2 + 2 + 1 + 3),
    ],
)
def test_iterations_by_hand(mix, cycles):
    assert cortex_m7.iteration_cycles(mix, timing()) == cycles


def test_a_product_by_hand():
    """4x4 sums, two terms: 32 VFMA; four VLDM of two words and two of four, 8 cycles; a turn."""
    form = find("p1_2x4").closed_form
    mix = cortex_m7.loop_of(form, timing())
    assert (mix.work, mix.fma, mix.fp) == (32, 32, 0)
    assert cortex_m7.iteration_cycles(mix, timing()) == 8 + 3 + 32
    # VEGA's own loop: an instruction around the loops takes a cycle, as the file says.
    same = dataclasses.replace(timing(), program="same loops")
    n, k, m = 8, 64, 16
    work, around = n * k * m, form.spent(n, k, m).instr - n * k * m / 8 * 14
    loop = 1 + 1 + 2 + 3 + max(8, (8 + 1 + 2) / 2)
    found = cortex_m7.tile_cycles("p1_2x4", n, (k, m), same, cache())
    assert found == pytest.approx(work / 8 * loop + around)
    assert contention.kernel_cycles(H7, "p1_2x4", n, (k, m)) < found


def test_a_cycle_of_it_does_what_two_of_a_cortex_m4f_do_and_never_more_than_its_unit():
    assert L4.cortex_m4f is not None
    for kernel in KERNELS.values():
        if kernel.form is None or kernel.reference is None:
            continue
        items, dims = kernel.arguments_of(kernel.reference)
        ours = cortex_m7.tile_cycles(kernel, items, dims, timing(), cache())
        theirs = cortex.tile_cycles(kernel, items, dims, L4.cortex_m4f)
        assert 1.0 <= theirs / ours < 3.5, kernel.name
        mix = cortex_m7.loop_of(kernel.form, timing())
        assert cortex_m7.iteration_cycles(mix, timing()) >= mix.fma + mix.fp


def test_programs_longer_than_the_instruction_cache_run_from_flash():
    short = dataclasses.replace(cache(), code_bytes=cortex_m7.code_bytes(find("p1_2x4")))
    shorter = dataclasses.replace(short, code_bytes=short.code_bytes - 4)
    fast, slow = (
        cortex_m7.tile_cycles("p1_2x4", 8, (8, 8), timing(), one) for one in (short, shorter)
    )
    assert slow == 3.0 * fast
    longest = max(cortex_m7.code_bytes(kernel) for kernel in KERNELS.values())
    assert longest < cache().code_bytes  # the file says so of flash_factor


def test_tiles_are_lines_that_the_core_waits_for():
    """3 rows of 40 bytes: 2 lines each where they lie apart, 4 in one block."""
    seen = machine(H7)
    apart = seen.transfer(3.0, 40.0, False, False)
    block = seen.transfer(3.0, 40.0, np.True_, False)
    back = seen.transfer(3.0, 40.0, np.False_, True)
    assert (apart.read_cycles, block.read_cycles, back.write_cycles) == (6 * 24, 4 * 24, 6 * 8)


def test_a_pass_takes_its_kernels_its_lines_and_nothing_beside():
    """A product of two tiles, B fetched for each: nothing hides, so time is a sum."""
    product = Product("p1_2x4", 8, 32, 16)
    tile = np.float64(4), np.float64(32), np.float64(16), np.False_
    cost = product.cost(machine(H7), *tile)
    kernel = float(contention.kernel_cycles(H7, "p1_2x4", 4, (32, 16)))
    fetched, written = (8 * 32 + 2 * 32 * 16) / 8, 8 * 16 / 8  # lines
    assert cost.dma_cycles == 24 * fetched + 8 * written
    assert cost.cycles == pytest.approx(800 + 2 * (15 + kernel) + cost.dma_cycles)
    assert cost.dma_bytes == 32 * (fetched + written)
    halved = H7.replace(**{"caches.fill_cycles": 12.0})
    less = product.cost(machine(halved), *tile)
    assert cost.cycles - less.cycles == pytest.approx(12 * fetched)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("cluster.cores", 2),
        ("cortex_m7.issue_width", 0.0),
        ("cortex_m7.fma_cycles", -1.0),
        ("caches.line_bytes", 24),
        ("caches.fill_cycles", float("nan")),
    ],
)
def test_impossible_values_are_refused_by_name(key, value):
    with pytest.raises(PlatformError, match=key.replace(".", r"\.")):
        H7.replace(**{key: value})


def test_sections_of_other_cores_are_refused(tmp_path):
    text = (platform.folder() / "stm32h7.toml").read_text(encoding="utf-8")
    path = tmp_path / "mine.toml"
    path.write_text(text.replace('core = "cortex-m7"', 'core = "cortex-m4f"'))
    with pytest.raises(PlatformError, match=r"section \[l2\] does not belong to cortex-m4f"):
        platform.load(path)
    start, end = text.index("[caches]"), text.index("[l2]")
    path.write_text(text[:start] + text[end:])
    with pytest.raises(PlatformError, match=r"section \[caches\] is missing"):
        platform.load(path)
