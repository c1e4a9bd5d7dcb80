"""Replays of 7 and 6 bits: unpacked and dequantized, narrowed and packed; eight codes a step."""

from pathlib import Path

from pulpsim.kernels.elements import codes, elements_shape, steps, words
from pulpsim.kernels.record import ClosedForm, Kernel, Mix, Work
from pulpsim.kernels.shape import Buffer, Scalar

PROGRAM = Path(__file__).with_suffix(".s")
_WORK = Work("elements", granularity=8)
_GUARD = 8  # bytes behind the packed codes that the last store may touch


def _unpack(bits: int, misaligned: float) -> Kernel:
    return Kernel(
        f"e9_unp{bits}",
        PROGRAM,
        elements_shape(8),
        (
            Buffer("packed", 0, lambda s: s.elements * bits // 8),
            words("y", 2),
            Scalar("scale", 3, 0.0123),
        ),
        _WORK,
        ClosedForm(steps(20, 34, 8, misaligned), Mix(8, 34, (2,), (8,), fp=24, alu=14)),
        "n1024",
    )


def _pack(bits: int, misaligned: float) -> Kernel:
    return Kernel(
        f"e9_pck{bits}",
        PROGRAM,
        elements_shape(8),
        (codes("codes", 0), Buffer("packed", 2, lambda s: s.elements * bits // 8 + _GUARD)),
        _WORK,
        ClosedForm(steps(19, 14, 8, misaligned), Mix(8, 14, (2,), (2,), alu=14)),
        "n1024",
    )


KERNELS = (_unpack(7, 1.5), _unpack(6, 1.0), _pack(7, 1.5), _pack(6, 1.0))
