"""The same loops on a Cortex-M4F: what an iteration of each innermost loop costs there.

Blocking and order of the loops are those of the PULP kernels, so that two chips are compared and
not two programmers. What differs is the instruction set: no hardware loops, so every iteration
pays a subtraction and a taken branch; no post-increment on floating-point loads, but VLDM/VSTM with
write-back, one cycle plus one per word; VFMA takes 3 cycles; 8-bit products go through SXTB16 and
SMLAD in 2x2 blocks, because thirteen registers do not hold a 4x2 block. Timing is Arm's (technical
reference manual), from the platform file. What surrounds the innermost loops is taken over from the
PULP programs at one cycle per instruction. None of this is measured on the chip.
"""

from typing import Any

from pulpsim.cost.chip import CortexM4F
from pulpsim.kernels import Kernel, find
from pulpsim.kernels.record import Mix

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
    mix = record.closed_form.mix
    iterations = record.work.amount(items, *dims) / mix.work
    around = record.tile_spent(items, dims, 1).instr - iterations * mix.pulp_instructions
    cycles = iterations * iteration_cycles(mix, timing) + around * timing.alu_cycles
    return cycles * timing.flash_factor
