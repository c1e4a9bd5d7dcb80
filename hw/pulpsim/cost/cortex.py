"""Kernels on a Cortex-M4F: what an iteration of each innermost loop costs there.

Two programmers are compared with VEGA's. `same loops` takes over the blocking and order of the PULP
kernels: what differs is the instruction set. No hardware loops, so every iteration pays a
subtraction and a taken branch; no post-increment on floating-point loads, but VLDM/VSTM with
write-back, one cycle plus one per word; VFMA takes 3 cycles; 8-bit products go through SXTB16 and
SMLAD in 2x2 blocks, because thirteen registers do not hold a 4x2 block.

`competent` is written for this core: VMUL and VADD, a cycle each and never one right behind the
other it waits for, in place of a VFMA; products in 4x4 blocks with two or four terms an iteration,
so that the 32 registers hold 16 sums, operands and products on their way; other loops unrolled
twice. Where a kernel's record has no such loop of its own, the second and fourth of these rules
are applied to the first programmer's.

Timing is Arm's (technical reference manual), from the platform file. What surrounds the innermost
loops is taken over from the PULP programs at one cycle per instruction. None of this is measured on
the chip.
"""

import dataclasses
from typing import Any

from pulpsim.cost.chip import CortexM4F, CortexM7
from pulpsim.kernels import Kernel, find
from pulpsim.kernels.record import ClosedForm, Mix

Numbers = Any


def iteration_cycles(mix: Mix, timing: CortexM4F) -> float:
    """Cycles of an iteration of the innermost loop."""
    loads = sum(
        timing.load_cycles + (words - 1) * timing.pipelined_load_cycles for words in mix.loads
    )
    # VSTM: one cycle plus one per word; a single store is buffered.
    stores = sum(timing.store_cycles * (words + (words > 1)) for words in mix.stores)
    loop = mix.loops * (timing.alu_cycles + timing.branch_cycles)
    arithmetic = mix.fma * timing.fma_cycles + mix.fp * timing.fp_cycles
    return loads + stores + arithmetic + mix.alu * timing.alu_cycles + loop


def tile_cycles(
    kernel: str | Kernel, items: Numbers, dims: tuple[Numbers, ...], timing: CortexM4F
) -> Numbers:
    """Cycles of one kernel call on one tile; arguments as `contention.kernel_cycles`.

    Raises:
        ValueError: The kernel is unknown or has no closed form.
    """
    record = find(kernel)
    work, around = work_and_around(record, items, dims)
    mix = loop_of(record.closed_form, timing)
    cycles = work / mix.work * iteration_cycles(mix, timing) + around * timing.alu_cycles
    return cycles * timing.flash_factor


def work_and_around(
    record: Kernel, items: Numbers, dims: tuple[Numbers, ...]
) -> tuple[Numbers, Numbers]:
    """Amount of work in the innermost loops of one call, and instructions around them."""
    form = record.closed_form
    work = record.work.amount(items, *dims)
    spent = (form.around or form.spent)(items, *dims)
    return work, spent.instr - work / form.mix.work * form.mix.pulp_instructions


def loop_of(form: ClosedForm, timing: CortexM4F | CortexM7) -> Mix:
    """The innermost loop of the programmer that the platform names."""
    if timing.program == "same loops":
        return form.mix
    if form.competent is not None:
        return form.competent
    mix = form.mix
    if 2 * timing.fp_cycles < timing.fma_cycles:
        mix = dataclasses.replace(mix, fma=0, fp=mix.fp + 2 * mix.fma)
    return dataclasses.replace(mix, loops=mix.loops / 2)
