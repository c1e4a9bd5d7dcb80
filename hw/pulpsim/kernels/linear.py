"""The linear layer of one sample: forward, input gradient, weight gradient."""

from pathlib import Path

from pulpsim.kernels.record import RESTORES_RA, ClosedForm, Kernel, Mix, Numbers, Spent, Work, some
from pulpsim.kernels.shape import Argument, Buffer, Rule, Scalar, Shape

PROGRAM = Path(__file__).with_suffix(".s")
_SIZES = (Scalar("rows", 3), Scalar("k", 4))
_SHAPE = Shape(
    "{rows}x{k}", "50x256 (N x K)", (Rule(lambda s: s.k % 2 == 0, "K to be a multiple of 2"),)
)
_FOURS = Shape(
    "{rows}x{k}", "50x256 (N x K)", (Rule(lambda s: s.k % 4 == 0, "K to be a multiple of 4"),)
)
_GRADIENT: tuple[Argument, ...] = (
    Buffer("dy", 0, lambda s: 4 * s.rows),
    Buffer("x", 1, lambda s: 4 * s.k),
    Buffer("dw", 2, lambda s: 4 * s.rows * s.k),
    *_SIZES,
)
_ROWS = Work("rows", ("k",))


def _forward(n: Numbers, k: Numbers) -> Spent:
    groups, rest = n // 4, n - n // 4 * 4
    instr = 48 + some(groups) + groups * (14 + 9 * k)
    instr = instr + some(rest) * 2 + rest * (6 + 3 * k)
    return Spent(instr, (1 - some(groups)) + (1 - some(rest)), 0, RESTORES_RA)


def _input_gradient(n: Numbers, rows: Numbers) -> Spent:
    return Spent(46 + n // 4 * (12 + 9 * rows), 0, 0, RESTORES_RA)


def _weight_gradient(n: Numbers, k: Numbers) -> Spent:
    groups, rest = n // 4, n - n // 4 * 4
    instr = 49 + some(groups) + groups * (11 + 13 * k) + some(rest) + rest * (5 + 4 * k)
    return Spent(instr, (1 - some(groups)) + (1 - some(rest)), 0, RESTORES_RA)


# On a Cortex-M4F by its own programmer, operands by VLDM: four rows at four inputs; sixteen columns
# at one row; eight elements of a row of the gradient, there and back.
_ROW = Mix(16, 36, loads=(4,) * 5, fp=32, alu=1)
_COLUMNS = Mix(16, 36, loads=(8, 8, 1), fp=32, alu=1)
_OUTER = Mix(8, 26, loads=(8, 8), stores=(8,), fp=16)

KERNELS = (
    Kernel(
        "l1_fwd",
        PROGRAM,
        _SHAPE,
        (
            Buffer("w", 0, lambda s: 4 * s.rows * s.k),
            Buffer("x", 1, lambda s: 4 * s.k),
            Buffer("y", 2, lambda s: 4 * s.rows),
            *_SIZES,
        ),
        _ROWS,
        ClosedForm(_forward, Mix(4, 9, loads=(1,) * 5, fma=4), _ROW),
        "32x256",
    ),
    # Columns are split, in fours.
    Kernel(
        "l2_igrad",
        PROGRAM,
        _FOURS,
        (
            Buffer("w", 0, lambda s: 4 * s.rows * s.k),
            Buffer("dy", 1, lambda s: 4 * s.rows),
            Buffer("dx", 2, lambda s: 4 * s.k),
            *_SIZES,
        ),
        Work("k", ("rows",), granularity=4),
        ClosedForm(_input_gradient, Mix(4, 9, loads=(1, 4), fma=4, alu=1), _COLUMNS),
        "32x256",
    ),
    Kernel("l3_wgrad", PROGRAM, _SHAPE, _GRADIENT, _ROWS, reference="32x128"),
    Kernel(
        "l3a_wgrad",
        PROGRAM,
        _SHAPE,
        _GRADIENT,
        _ROWS,
        ClosedForm(_weight_gradient, Mix(8, 26, loads=(2,) * 5, stores=(2,) * 4, fma=8), _OUTER),
        "32x128",
    ),
)
