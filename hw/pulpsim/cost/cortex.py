"""The same loops on a Cortex-M4F: what an iteration of each innermost loop costs there.

Blocking and order of the loops are those of the PULP kernels, so that two chips are compared and
not two programmers. What differs is the instruction set: no hardware loops, so every iteration
pays a subtraction and a taken branch; no post-increment on floating-point loads, but VLDM/VSTM with
write-back, one cycle plus one per word; VFMA takes 3 cycles; 8-bit products go through SXTB16 and
SMLAD in 2x2 blocks, because thirteen registers do not hold a 4x2 block. Timing is Arm's (technical
reference manual), from the platform file. What surrounds the innermost loops is taken over from the
PULP programs at one cycle per instruction. None of this is measured on the chip.
"""

import dataclasses
from typing import Any

from pulpsim.cost.platform import CortexM4F
from pulpsim.kernels import counts

Numbers = Any


@dataclasses.dataclass(frozen=True)
class Mix:
    """Instructions of one iteration.

    Attributes:
        work: MACs or elements of an iteration.
        pulp_instructions: Instructions of the same iteration on PULP.
        loads: Words of each load group (one VLDM, or integer loads behind each other).
        stores: Likewise.
        fma: Fused multiply-adds.
        fp: Other floating-point instructions.
        alu: Integer instructions, without the loop's own subtraction.
        loops: Loop ends; below 1 where the loop is unrolled.
    """

    work: int
    pulp_instructions: int
    loads: tuple[int, ...] = ()
    stores: tuple[int, ...] = ()
    fma: int = 0
    fp: int = 0
    alu: int = 0
    loops: float = 1.0

    def cycles(self, timing: CortexM4F) -> float:
        """Cycles of an iteration."""
        loads = sum(
            timing.load_cycles + (words - 1) * timing.pipelined_load_cycles for words in self.loads
        )
        # VSTM: one cycle plus one per word; a single store is buffered.
        stores = sum(timing.store_cycles * (words + (words > 1)) for words in self.stores)
        loop = self.loops * (timing.alu_cycles + timing.branch_cycles)
        arithmetic = self.fma * timing.fma_cycles + self.fp * timing.fp_cycles
        return loads + stores + arithmetic + self.alu * timing.alu_cycles + loop


_THIRD, _HALF = 1 / 3, 1 / 2

MIXES: dict[str, Mix] = {
    "p1_2x4": Mix(8, 14, loads=(1, 1, 4), fma=8, alu=1),
    "p2_2x4": Mix(8, 14, loads=(1,) * 6, fma=8),
    "p2a_2x4": Mix(8, 14, loads=(1,) * 6, fma=8),
    "p3_2x4": Mix(8, 14, loads=(2, 4), fma=8, alu=2),
    "p4_4x4": Mix(16, 24, loads=(1, 1, 1, 1, 4), fma=16, alu=1),
    "d1_col": Mix(9, 13, loads=(3,), stores=(1,), fma=8, fp=1, alu=2, loops=_THIRD),
    "d3_col": Mix(9, 13, loads=(3,), stores=(1,), fma=8, fp=1, alu=2, loops=_THIRD),
    "d1s_col": Mix(9, 16, loads=(3, 3), stores=(1,), fma=8, fp=1, alu=3, loops=_HALF),
    "d2a_wgrad": Mix(9, 13, loads=(1,) * 4, fma=9, loops=_THIRD),
    "d2sa_wgrad": Mix(9, 16, loads=(1,) * 7, fma=9, loops=_HALF),
    "d3s_igrad": Mix(9, 15, loads=(1, 1), stores=(2, 2), fma=5, fp=4, alu=2),
    "l1_fwd": Mix(4, 9, loads=(1,) * 5, fma=4),
    "l2_igrad": Mix(4, 9, loads=(1, 4), fma=4, alu=1),
    "l3a_wgrad": Mix(8, 26, loads=(2,) * 5, stores=(2,) * 4, fma=8),
    "i1_4x2": Mix(16, 7, loads=(4,), alu=16),
    "i2_dw": Mix(9, 9, loads=(3, 3), stores=(1,), alu=21, loops=_THIRD),
    "i2s_dw": Mix(9, 10, loads=(6, 3), stores=(1,), alu=24, loops=_THIRD),
    "i3_conv": Mix(16, 7, loads=(4,), alu=16),
    "i4_pool": Mix(4, 2, loads=(1,), alu=4),
    "c0_im2col": Mix(9, 18, loads=(3, 3, 3), stores=(9,), alu=3),
    "e1_sgd": Mix(2, 16, loads=(2, 2, 2), stores=(2, 2), fma=6),
    "e2_trick": Mix(4, 16, loads=(4,), stores=(4,), fp=12),
    "e3_fwd": Mix(4, 20, loads=(4,), stores=(4, 1, 1, 1, 1), alu=16),
    "e3_bwd": Mix(4, 16, loads=(4, 4), stores=(4,), alu=4),
    "e10_relu6": Mix(4, 28, loads=(4,), stores=(4, 1, 1, 1, 1), alu=20),
    "e9_unp7": Mix(8, 34, loads=(2,), stores=(8,), fp=24, alu=14),
    "e9_unp6": Mix(8, 34, loads=(2,), stores=(8,), fp=24, alu=14),
    "e9_pck7": Mix(8, 14, loads=(2,), stores=(2,), alu=14),
    "e9_pck6": Mix(8, 14, loads=(2,), stores=(2,), alu=14),
    "e4_bn": Mix(4, 12, loads=(4,), stores=(4,), fma=4),
    "e5_stat": Mix(4, 12, loads=(4,), fma=4, fp=4),
    "e6a_bnsum": Mix(4, 16, loads=(4, 4), fma=4, fp=4),
    "e6b_bnbwd": Mix(4, 20, loads=(4, 4), stores=(4,), fma=8, fp=4),
    "e7_gapf": Mix(4, 8, loads=(4,), fp=4),
    "e7_gapb": Mix(4, 4, stores=(4,)),
    "e8_smx": Mix(1, 23, loads=(1,), stores=(1,), fma=6, fp=5, alu=4),
}


def tile_cycles(name: str, items: Numbers, dims: tuple[Numbers, ...], timing: CortexM4F) -> Numbers:
    """Cycles of one kernel call on one tile; arguments as `counts.tile_cycles`.

    Raises:
        ValueError: The kernel is unknown.
    """
    mix = MIXES[counts.check_name(name)]
    iterations = counts.tile_work(name, items, dims) / mix.work
    around = counts.tile_instructions(name, items, dims, 1) - iterations * mix.pulp_instructions
    return (iterations * mix.cycles(timing) + around * timing.alu_cycles) * timing.flash_factor


def macs_per_cycle(name: str, timing: CortexM4F) -> float:
    """Work per cycle of the innermost loop alone."""
    mix = MIXES[counts.check_name(name)]
    return mix.work / (mix.cycles(timing) * timing.flash_factor)
