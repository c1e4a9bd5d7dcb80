"""Replays of 1 to 6 bits: 8-bit codes narrowed with rounding and packed; 1 to 5 bits unpacked.

A code of 8 bits times 65536 (2^bits - 1) / 255, rounded by the shift of `p.muluRN`, gives all 256
codes of `fixedpoint.narrow`. The measured `e9_pck6` cuts bits off instead and differs in 42 of
them; at 7 bits the two are the same, so `e9_pck7` stays. Designs without RTL rows.
"""

from pathlib import Path

from pulpsim.kernels.elements import codes, elements_shape, steps, words
from pulpsim.kernels.record import ClosedForm, Kernel, Mix, Work
from pulpsim.kernels.shape import Buffer, Scalar

PROGRAM = Path(__file__).with_suffix(".s")
_WORK = Work("elements", granularity=8)
_BEYOND = 3  # bytes behind the packed codes that the last load of a word may see


def _packed(bits: int, word: int, beyond: int = 0) -> Buffer:
    return Buffer("packed", word, lambda s: s.elements * bits // 8 + beyond)


def _unpack(bits: int, per: int, misaligned: float) -> Kernel:
    """`per` instructions for eight codes; with one load, its first use waits."""
    arguments = (_packed(bits, 0, _BEYOND), words("y", 2), Scalar("scale", 3, 0.0123))
    mix = Mix(8, per, loads=((bits + 3) // 4,), stores=(8,), fp=24, alu=8)
    form = ClosedForm(steps(20, per, 8, misaligned + (bits < 5)), mix)
    name, shape = f"e9_unp{bits}", elements_shape(8)
    return Kernel(name, PROGRAM, shape, arguments, _WORK, form, "n1024", measured=False)


def _round(bits: int, per: int, misaligned: float = 0.0) -> Kernel:
    arguments = (codes("codes", 0), _packed(bits, 2))
    # A Cortex-M takes UXTB, MLA and an insertion a code.
    mix = Mix(8, per, loads=(2,), stores=((bits + 3) // 4,), alu=24)
    base = 17 if bits < 4 else 18  # the factor takes two instructions from 2^11
    form = ClosedForm(steps(base, per, 8, misaligned), mix)
    name, shape = f"e9_rnd{bits}", elements_shape(8)
    return Kernel(name, PROGRAM, shape, arguments, _WORK, form, "n1024", measured=False)


KERNELS = (
    _unpack(1, 33, 0.75),
    _unpack(2, 33, 0.5),
    _unpack(3, 33, 0.75),
    _unpack(4, 33, 0.0),
    _unpack(5, 34, 1.5),
    _round(1, 26),
    _round(2, 26),
    _round(3, 30),
    _round(4, 26),
    _round(5, 29, 1.5),
    _round(6, 29, 1.0),
)
