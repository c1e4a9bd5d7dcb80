"""Kernels on a Cortex-M7: two instructions a cycle where they pair, and two caches.

The loops are those of `pulpsim.cost.cortex`. An iteration takes, in this order,

    loads and stores of several words    ceil(words / words a cycle) each; nothing pairs with them
    one turn, where it multiplies        behind a multiply-add they wait for the pipe to drain
    all other instructions               a cycle a floating-point one, or all of them over the issue
                                         width, whichever is longer

What surrounds the innermost loops is taken over from the PULP programs at `around_cycles` an
instruction, which holds their wrongly predicted ends. No result is waited for: with 16 sums, as in
the products of the competent programmer, none need be (3 cycles of latency); elsewhere this
flatters the core.

A multiply-add is one instruction a cycle, so the competent programmer has no use for VMUL and VADD.
Programs longer than the instruction cache run slower by a factor; the data cache is the `Machine`'s
affair, which fetches tiles by lines. None of this is measured on the chip.
"""

import dataclasses
import functools
import math
from typing import Any

from pulpsim.cluster import assembler
from pulpsim.cost import cortex
from pulpsim.cost.chip import Caches, CortexM7
from pulpsim.kernels import Kernel, find
from pulpsim.kernels.record import ClosedForm, Mix

Numbers = Any
_INSTRUCTION_BYTES = 4


def iteration_cycles(mix: Mix, timing: CortexM7) -> float:
    """Cycles of an iteration of the innermost loop."""
    moving = sum(math.ceil(words / timing.load_words_per_cycle) for words in mix.loads)
    moving += sum(math.ceil(words / timing.store_words_per_cycle) for words in mix.stores)
    turn = timing.turn_cycles if mix.fma and moving else 0.0
    floating = mix.fma * timing.fma_cycles + mix.fp * timing.fp_cycles
    issued = (mix.fma + mix.fp + mix.alu + 2 * mix.loops) / timing.issue_width
    return moving + turn + max(floating, issued)


def tile_cycles(
    kernel: str | Kernel,
    items: Numbers,
    dims: tuple[Numbers, ...],
    timing: CortexM7,
    cache: Caches,
) -> Numbers:
    """Cycles of one kernel call on one tile in the data cache; arguments as `kernel_cycles`.

    Raises:
        ValueError: The kernel is unknown or has no closed form.
    """
    record = find(kernel)
    work, around = cortex.work_and_around(record, items, dims)
    mix = loop_of(record.closed_form, timing)
    cycles = work / mix.work * iteration_cycles(mix, timing) + around * timing.around_cycles
    return cycles * (cache.flash_factor if code_bytes(record) > cache.code_bytes else 1.0)


def loop_of(form: ClosedForm, timing: CortexM7) -> Mix:
    """The innermost loop of the programmer that the platform names."""
    mix = cortex.loop_of(form, timing)
    pairs = mix.fma == 0 and mix.fp == 2 * mix.work  # VMUL and VADD for every product
    if pairs and timing.fma_cycles < 2 * timing.fp_cycles:
        return dataclasses.replace(mix, fma=mix.work, fp=0)
    return mix


@functools.cache
def code_bytes(kernel: Kernel) -> int:
    """Of a kernel's program, as long as the PULP one."""
    return len(assembler.program(kernel)) * _INSTRUCTION_BYTES
